// SPDX-License-Identifier: Apache-2.0
#include "testing/preload/trap.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "testing/preload/client.h"
#include "testing/preload/emulator.h"
#include "testing/preload/memory.h"
#include "testing/preload/raw.h"
#include "testing/preload/replay.h"

namespace passthru::preload {
namespace {

// As the kernel's struct sigaction on x86-64.
struct KernelAction {
  void* handler = nullptr;
  unsigned long flags = 0;
  void* restorer = nullptr;
  uint64_t mask = 0;
};
constexpr unsigned long kRestorer = 0x04000000;

// The program's own action for SIGSEGV, as rt_sigaction(2) would hold it.
struct sigaction program_action;

__attribute__((naked)) void Restore() { __asm__("mov $15, %eax\n\tsyscall"); }

long SetAction(int signal, const KernelAction& action) {
  return Raw(SYS_rt_sigaction, signal, AsLong(&action), 0, sizeof(action.mask));
}

// Makes the signal do what it does without a handler, when the instruction is
// executed again.
void EndBy(int signal) {
  SetAction(signal, {});
  if (signal == SIGSEGV) return;
  uint64_t mask = uint64_t{1} << (signal - 1);
  Raw(SYS_rt_sigprocmask, SIG_UNBLOCK, AsLong(&mask), 0, sizeof(mask));
  Raw(SYS_tgkill, Raw(SYS_getpid), Raw(SYS_gettid), signal);
}

void CallHandler(const struct sigaction& action, int signal, siginfo_t* info,
                 void* context) {
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(signal, info, context);
  } else if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) {
    action.sa_handler(signal);
  } else {
    EndBy(signal);
  }
}

// Answers like a mapping whose device decodes no memory.
void RaiseBusError(siginfo_t* info, void* context) {
  struct sigaction action;
  sigaction(SIGBUS, nullptr, &action);
  siginfo_t bus = *info;
  bus.si_signo = SIGBUS;
  bus.si_code = BUS_ADRERR;
  CallHandler(action, SIGBUS, &bus, context);
}

// Transfers bytes between the emulated instruction and registers or memory.
bool Load(uint64_t address, void* data, size_t size) {
  if (!IsRegister(address, size)) {
    memcpy(data, reinterpret_cast<const void*>(address), size);
    return true;
  }
  Request request;
  request.kind = Kind::kLoad;
  request.argument[0] = address;
  request.data_size = static_cast<uint32_t>(size);
  Reply reply;
  if (Call(request, &reply) < 0) return false;
  memcpy(data, reply.data, size);
  return true;
}

bool Store(uint64_t address, const void* data, size_t size) {
  if (!IsRegister(address, size)) {
    memcpy(reinterpret_cast<void*>(address), data, size);
    return true;
  }
  Request request;
  request.kind = Kind::kStore;
  request.argument[0] = address;
  request.data_size = static_cast<uint32_t>(size);
  memcpy(request.data, data, size);
  return Call(request) >= 0;
}

void SayUnknown(uint64_t instruction) {
  static constexpr char kDigits[] = "0123456789abcdef";
  char text[3 * kLongestInstruction + 1] = {};
  const auto* const bytes = reinterpret_cast<const uint8_t*>(instruction);
  for (int i = 0; i < kLongestInstruction; ++i) {
    // The instruction may end before a page that is not there.
    if (i > 0 && (instruction + static_cast<uint64_t>(i)) % 4096 == 0) break;
    text[3 * i] = ' ';
    text[3 * i + 1] = kDigits[bytes[i] >> 4];
    text[3 * i + 2] = kDigits[bytes[i] & 15];
  }
  Say("a mapped BAR is accessed by an instruction that the simulation does "
      "not know, so the program gets SIGSEGV; it is the beginning of:",
      text);
}

void OnFault(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<uint64_t>(info->si_addr);
  int protection = 0;
  if (signal == SIGSEGV && info->si_code > 0 &&
      IsRegister(address, 1, &protection)) {
    auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
    // Bit 1 of the page fault's error code says that it was a write (Intel SDM
    // vol. 3, 4.7).
    const bool writes = (machine.gregs[REG_ERR] & 2) != 0;
    if ((protection & (writes ? PROT_WRITE : PROT_READ | PROT_WRITE)) != 0) {
      Emulated emulated = Emulate(machine, Load, Store);
      if (emulated == Emulated::kUnknown) emulated = Replay(machine, Load);
      switch (emulated) {
        case Emulated::kDone:
          errno = saved_errno;
          return;
        case Emulated::kNoAnswer:
          RaiseBusError(info, context);
          errno = saved_errno;
          return;
        case Emulated::kUnknown:
          SayUnknown(static_cast<uint64_t>(machine.gregs[REG_RIP]));
          break;
      }
    }
  }
  struct sigaction action = program_action;
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) {
    action.sa_flags &= ~SA_SIGINFO;
    // A signal that was sent comes from no instruction that is executed again.
    if (info->si_code <= 0) {
      if (action.sa_handler == SIG_DFL) {
        SetAction(SIGSEGV, {});
        Raw(SYS_tgkill, Raw(SYS_getpid), Raw(SYS_gettid), SIGSEGV);
      }
      errno = saved_errno;
      return;
    }
  }
  if ((action.sa_flags & SA_RESETHAND) != 0) program_action = {};
  CallHandler(action, signal, info, context);
  errno = saved_errno;
}

// Returns the set without SIGSEGV, which the kernel would make deadly if it
// were blocked during a trap.
const sigset_t* WithoutTraps(const sigset_t* set, sigset_t* room) {
  if (set == nullptr || Folder() == nullptr) return set;
  *room = *set;
  sigdelset(room, SIGSEGV);
  return room;
}

}  // namespace

void HandleTraps() {
  KernelAction before;
  Raw(SYS_rt_sigaction, SIGSEGV, 0, AsLong(&before), sizeof(before.mask));
  program_action.sa_handler = reinterpret_cast<void (*)(int)>(before.handler);
  KernelAction action;
  action.handler = reinterpret_cast<void*>(OnFault);
  // A fault in the program's own handler must find this one again.
  action.flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART | kRestorer;
  action.restorer = reinterpret_cast<void*>(Restore);
  SetAction(SIGSEGV, action);
}

INTERPOSE(int, sigaction, int signal, const struct sigaction* action,
          struct sigaction* old) {
  if (signal == SIGSEGV && Folder() != nullptr) {
    const struct sigaction before = program_action;
    if (action != nullptr) program_action = *action;
    if (old != nullptr) *old = before;
    return 0;
  }
  if (action == nullptr || Folder() == nullptr) {
    return NEXT(sigaction)(signal, action, old);
  }
  struct sigaction shown = *action;
  sigdelset(&shown.sa_mask, SIGSEGV);
  return NEXT(sigaction)(signal, &shown, old);
}
ALSO_AS(sigaction, __sigaction);

using Handler = void (*)(int);
INTERPOSE(Handler, signal, int number, Handler handler) {
  struct sigaction action = {};
  struct sigaction old = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  return passthru_sigaction(number, &action, &old) == 0 ? old.sa_handler
                                                        : SIG_ERR;
}
ALSO_AS(signal, bsd_signal);
ALSO_AS(signal, ssignal);

INTERPOSE(int, sigprocmask, int how, const sigset_t* set, sigset_t* old) {
  sigset_t room;
  return NEXT(sigprocmask)(
      how, how == SIG_UNBLOCK ? set : WithoutTraps(set, &room), old);
}

INTERPOSE(int, pthread_sigmask, int how, const sigset_t* set, sigset_t* old) {
  sigset_t room;
  return NEXT(pthread_sigmask)(
      how, how == SIG_UNBLOCK ? set : WithoutTraps(set, &room), old);
}

}  // namespace passthru::preload
