// SPDX-License-Identifier: Apache-2.0
//
// Executes instructions on a mapped BAR that is plain memory, and the same on
// memory, and compares what they leave. `instructions ADDRESS GROUP`.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "testing/simulate/clients/client.h"

namespace client {
namespace {

// What an instruction may change.
struct State {
  uint64_t rax, rcx, rdx, flags;
  alignas(64) uint8_t vector[64];
};

struct Case {
  const char* text;
  void (*run)(uint8_t* memory, State* state);
  bool (*supported)();
};

bool Always() { return true; }
bool HasAvx() { return __builtin_cpu_supports("avx2"); }
bool HasAvx512() {
  return __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
}

// The memory is at RDI, and RSI is the state.
#define RUN(before, instruction, after)                          \
  [](uint8_t* memory, State* state) {                            \
    __asm__ volatile(                                            \
        "mov (%%rsi), %%rax\n\tmov 8(%%rsi), %%rcx\n\t"          \
        "mov 16(%%rsi), %%rdx\n\tpush %%rsi\n\t" before          \
        "pushq 24(%%rsi)\n\tpopfq\n\t" instruction               \
        "\n\tpushfq\n\tpop %%r11\n\tcld\n\tpop %%rsi\n\t"        \
        "mov %%rax, (%%rsi)\n\tmov %%rcx, 8(%%rsi)\n\t"          \
        "mov %%rdx, 16(%%rsi)\n\tmov %%r11, 24(%%rsi)\n\t" after \
        :                                                        \
        : "D"(memory), "S"(state)                                \
        : "rax", "rcx", "rdx", "r11", "xmm1", "memory", "cc");   \
  }
#define GENERAL(instruction) \
  { instruction, RUN("", instruction, ""), Always }
#define SSE(instruction)                                 \
  {                                                      \
    instruction,                                         \
        RUN("movdqu 64(%%rsi), %%xmm1\n\t", instruction, \
            "movdqu %%xmm1, 64(%%rsi)\n\t"),             \
        Always                                           \
  }
#define AVX(instruction)                                    \
  {                                                         \
    instruction,                                            \
        RUN("vmovdqu 64(%%rsi), %%ymm1\n\t", instruction,   \
            "vmovdqu %%ymm1, 64(%%rsi)\n\tvzeroupper\n\t"), \
        HasAvx                                              \
  }
#define AVX512(instruction)                                   \
  {                                                           \
    instruction,                                              \
        RUN("vmovdqu64 64(%%rsi), %%zmm1\n\t"                 \
            "vmovdqa64 %%zmm1, %%zmm17\n\t",                  \
            instruction,                                      \
            "vporq %%zmm17, %%zmm1, %%zmm1\n\t"               \
            "vmovdqu64 %%zmm1, 64(%%rsi)\n\tvzeroupper\n\t"), \
        HasAvx512                                             \
  }

const Case kInstructions[] = {
    GENERAL("movb %%al, (%%rdi)"),
    GENERAL("movb %%ah, 1(%%rdi)"),
    GENERAL("movw %%ax, 2(%%rdi)"),
    GENERAL("movl %%eax, 4(%%rdi)"),
    GENERAL("movq %%rax, 8(%%rdi)"),
    GENERAL("movb 9(%%rdi), %%al"),
    GENERAL("movb 9(%%rdi), %%ch"),
    GENERAL("movw 10(%%rdi), %%ax"),
    GENERAL("movl 12(%%rdi), %%eax"),
    GENERAL("movq 16(%%rdi), %%rax"),
    GENERAL("movl 300(%%rdi), %%edx"),
    GENERAL("mov $3, %%ecx\n\tmovl (%%rdi,%%rcx,8), %%edx"),
    GENERAL("movb $0x5a, (%%rdi)"),
    GENERAL("movw $0x5aa5, (%%rdi)"),
    GENERAL("movl $0x12345678, 5(%%rdi)"),
    GENERAL("movq $-2, 7(%%rdi)"),
    GENERAL("movzbl 1(%%rdi), %%eax"),
    GENERAL("movzwl 1(%%rdi), %%eax"),
    GENERAL("movsbl 1(%%rdi), %%eax"),
    GENERAL("movsbq 3(%%rdi), %%rax"),
    GENERAL("movswq 3(%%rdi), %%rdx"),
    GENERAL("movslq 3(%%rdi), %%rdx"),
    GENERAL("movnti %%rax, 8(%%rdi)"),
    GENERAL("addl %%eax, (%%rdi)"),
    GENERAL("adcq %%rax, (%%rdi)"),
    GENERAL("stc\n\tadcb %%al, (%%rdi)"),
    GENERAL("stc\n\tsbbw %%ax, (%%rdi)"),
    GENERAL("subq %%rcx, 8(%%rdi)"),
    GENERAL("orb $0x80, (%%rdi)"),
    GENERAL("orl $0x12340000, (%%rdi)"),
    GENERAL("andl $-16, (%%rdi)"),
    GENERAL("andb $0xf, 3(%%rdi)"),
    GENERAL("xorw %%ax, (%%rdi)"),
    GENERAL("lock orl $1, (%%rdi)"),
    GENERAL("lock addq $1, 8(%%rdi)"),
    GENERAL("addl (%%rdi), %%eax"),
    GENERAL("xorq 8(%%rdi), %%rdx"),
    GENERAL("cmpl %%eax, (%%rdi)"),
    GENERAL("cmpl $7, 4(%%rdi)"),
    GENERAL("cmpb $0x7f, 4(%%rdi)"),
    GENERAL("cmpq 8(%%rdi), %%rax"),
    GENERAL("testb $1, (%%rdi)"),
    GENERAL("testl $0x80000000, (%%rdi)"),
    GENERAL("testl %%eax, (%%rdi)"),
    GENERAL("notl (%%rdi)"),
    GENERAL("stc\n\tincl (%%rdi)"),
    GENERAL("decb (%%rdi)"),
    GENERAL("lock incq (%%rdi)"),
    GENERAL("xchgl %%eax, (%%rdi)"),
    GENERAL("xchgq %%rdx, (%%rdi)"),
    GENERAL("lock xaddl %%eax, (%%rdi)"),
    GENERAL("lock cmpxchgl %%ecx, (%%rdi)"),
    GENERAL("movl (%%rdi), %%eax\n\tlock cmpxchgl %%ecx, (%%rdi)"),
    GENERAL("btl $5, (%%rdi)"),
    GENERAL("lock btsl $5, (%%rdi)"),
    GENERAL("btrq $40, (%%rdi)"),
    GENERAL("btcl $31, (%%rdi)"),
    GENERAL("mov $70, %%ecx\n\tbtsl %%ecx, (%%rdi)"),
    GENERAL("push %%rdi\n\tmov $5, %%ecx\n\trep stosl\n\tpop %%rdi"),
    GENERAL("push %%rdi\n\tstosb\n\tstosq\n\tpop %%rdi"),
    GENERAL("mov $7, %%ecx\n\tpush %%rdi\n\trep movsb\n\tpop %%rdi"),
    GENERAL("mov %%rdi, %%rdx\n\tlea 64(%%rsi), %%rdi\n\tmov %%rdx, %%rsi\n\t"
            "mov $4, %%ecx\n\trep movsq\n\tmov %%rdx, %%rdi\n\txor %%edx, "
            "%%edx"),
    GENERAL("mov %%rdi, %%rsi\n\tlodsl"),
    SSE("movups (%%rdi), %%xmm1"),
    SSE("movaps 16(%%rdi), %%xmm1"),
    SSE("movdqu 3(%%rdi), %%xmm1"),
    SSE("movdqa 32(%%rdi), %%xmm1"),
    SSE("movups %%xmm1, 1(%%rdi)"),
    SSE("movaps %%xmm1, 16(%%rdi)"),
    SSE("movdqa %%xmm1, 32(%%rdi)"),
    SSE("movdqu %%xmm1, 5(%%rdi)"),
    SSE("movntdq %%xmm1, 16(%%rdi)"),
    SSE("movntps %%xmm1, 16(%%rdi)"),
    SSE("movss (%%rdi), %%xmm1"),
    SSE("movsd (%%rdi), %%xmm1"),
    SSE("movss %%xmm1, (%%rdi)"),
    SSE("movsd %%xmm1, (%%rdi)"),
    SSE("movq (%%rdi), %%xmm1"),
    SSE("movq %%xmm1, 8(%%rdi)"),
    SSE("movd (%%rdi), %%xmm1"),
    SSE("movd %%xmm1, 4(%%rdi)"),
    SSE("movhps %%xmm1, 8(%%rdi)"),
    SSE("movlps %%xmm1, 8(%%rdi)"),
    SSE("lddqu 3(%%rdi), %%xmm1"),
    SSE("pxor 16(%%rdi), %%xmm1"),
    SSE("pcmpeqb 16(%%rdi), %%xmm1"),
    SSE("pminub 16(%%rdi), %%xmm1"),
    SSE("psubb (%%rdi), %%xmm1"),
    SSE("pshufd $0x1b, 32(%%rdi), %%xmm1"),
    SSE("addps 32(%%rdi), %%xmm1"),
    SSE("ptest 32(%%rdi), %%xmm1"),
    AVX("vpcmpeqb 3(%%rdi), %%ymm1, %%ymm1"),
    AVX("vpcmpeqb %%ymm1, %%ymm1, %%ymm1\n\tvptest 64(%%rdi), %%ymm1"),
    AVX("vpor 5(%%rdi), %%xmm1, %%xmm1"),
    AVX("vmovdqu (%%rdi), %%ymm1"),
    AVX("vmovdqu (%%rdi), %%xmm1"),
    AVX("vmovups 5(%%rdi), %%ymm1"),
    AVX("vmovdqa %%ymm1, 32(%%rdi)"),
    AVX("vmovdqu %%ymm1, 3(%%rdi)"),
    AVX("vmovdqu %%xmm1, 3(%%rdi)"),
    AVX("vmovntdq %%ymm1, 64(%%rdi)"),
    AVX("vmovq (%%rdi), %%xmm1"),
    AVX("vmovd %%xmm1, (%%rdi)"),
    AVX512("vpxorq 32(%%rdi), %%ymm17, %%ymm17"),
    AVX512("vpxord 64(%%rdi)%{1to16%}, %%zmm17, %%zmm17"),
    AVX512("vpternlogd $0xde, 64(%%rdi), %%zmm17, %%zmm1"),
    AVX512("vpcmpub $4, 1(%%rdi), %%ymm17, %%k1\n\tkmovd %%k1, %%eax"),
    AVX512("mov $0xff0f, %%eax\n\tkmovd %%eax, %%k2\n\t"
           "vpcmpub $1, 64(%%rdi), %%ymm1, %%k1 %{%%k2%}\n\t"
           "kmovd %%k1, %%eax"),
    AVX512("vptestnmb 64(%%rdi), %%zmm1, %%k3\n\tkmovq %%k3, %%rdx"),
    AVX512("vmovdqu64 64(%%rdi), %%zmm1"),
    AVX512("vmovdqu8 (%%rdi), %%ymm17"),
    AVX512("vmovdqu64 64(%%rdi), %%zmm17"),
    AVX512("vmovdqu64 %%zmm17, 128(%%rdi)"),
    AVX512("vmovdqu64 %%ymm17, 32(%%rdi)"),
    AVX512("vmovups %%xmm17, 16(%%rdi)"),
    AVX512("mov $0x0ff0f7f1, %%eax\n\tkmovd %%eax, %%k1\n\t"
           "vmovdqu8 %%ymm17, 3(%%rdi) %{%%k1%}"),
    AVX512("mov $0xf3, %%eax\n\tkmovd %%eax, %%k2\n\t"
           "vmovdqu32 64(%%rdi), %%zmm17 %{%%k2%}"),
    AVX512("mov $0x9d, %%eax\n\tkmovd %%eax, %%k3\n\t"
           "vmovdqu64 64(%%rdi), %%zmm17 %{%%k3%}%{z%}"),
};

constexpr size_t kBytes = 512;

void Fill(uint8_t* to) {
  for (size_t i = 0; i < kBytes; ++i) {
    to[i] = static_cast<uint8_t>(i * 37 + (i >> 3) * 11 + 0x81);
  }
}

State Start(int round) {
  State state = {};
  state.rax = round == 0 ? 0x8899aabbccddee7full : 0x00000000000000ffull;
  state.rcx = round == 0 ? 0x0123456789abcdefull : 0x80000000ffffffffull;
  state.rdx = 0xfedcba9876543210ull;
  state.flags = 0x202;
  for (size_t i = 0; i < sizeof(state.vector); ++i) {
    state.vector[i] = static_cast<uint8_t>(0xc0 + 3 * i);
  }
  return state;
}

// The carry, zero, sign, overflow and parity flags. Logical operations leave
// the adjust flag undefined.
constexpr uint64_t kDefinedFlags = 0x8c5;

bool Same(const State& a, const State& b) {
  return a.rax == b.rax && a.rcx == b.rcx && a.rdx == b.rdx &&
         (a.flags & kDefinedFlags) == (b.flags & kDefinedFlags) &&
         memcmp(a.vector, b.vector, sizeof(a.vector)) == 0;
}

int Run(int argc, char** argv) {
  EXPECT(argc == 3);
  const Device device = Open(argv[1], atoi(argv[2]));
  SetCommand(device, 0x2);
  uint8_t* const bar = MapBar(device, 0);
  const auto bar_offset = static_cast<off_t>(Region(device, 0).offset);
  alignas(4096) static uint8_t memory[kBytes];
  int bad = 0;
  int count = 0;
  for (const Case& instruction : kInstructions) {
    if (!instruction.supported()) continue;
    for (int round = 0; round < 2; ++round) {
      State expected = Start(round);
      State seen = Start(round);
      Fill(memory);
      EXPECT(pwrite(device.fd, memory, kBytes, bar_offset) == kBytes);
      instruction.run(memory, &expected);
      instruction.run(bar, &seen);
      uint8_t left[kBytes];
      EXPECT(pread(device.fd, left, kBytes, bar_offset) == kBytes);
      ++count;
      if (Same(expected, seen) && memcmp(left, memory, kBytes) == 0) continue;
      ++bad;
      fprintf(
          stderr,
          "%s: rax %lx %lx rcx %lx %lx rdx %lx %lx flags %lx %lx, memory "
          "%s, vector %s\n",
          instruction.text, expected.rax, seen.rax, expected.rcx, seen.rcx,
          expected.rdx, seen.rdx, expected.flags, seen.flags,
          memcmp(left, memory, kBytes) == 0 ? "same" : "differs",
          memcmp(expected.vector, seen.vector, 64) == 0 ? "same" : "differs");
    }
  }
  printf("COUNT: %d instructions on a mapped BAR\n", count);
  // What the C library does with whole buffers. It loads the first string, and
  // compares with the second one in memory, unless that is near a page's end.
  alignas(4096) static char text[kBytes];
  strncpy(text, argv[0], sizeof(text) - 1);
  for (size_t size = 1; size < kBytes; size += 13) {
    Fill(memory);
    EXPECT(pwrite(device.fd, memory, kBytes, bar_offset) == kBytes);
    uint8_t copy[kBytes];
    memcpy(copy, bar, size);
    EXPECT(memcmp(copy, memory, size) == 0);
    EXPECT(memcmp(bar, memory, size) == 0 && memcmp(memory, bar, size) == 0);
    EXPECT(memchr(bar, 0, size) == nullptr ||
           memchr(memory, 0, size) != nullptr);
    memset(bar, 0xa5, size);
    memset(memory, 0xa5, size);
    EXPECT(pread(device.fd, copy, kBytes, bar_offset) == kBytes);
    EXPECT(memcmp(copy, memory, kBytes) == 0);
    memcpy(bar, text, strlen(text) + 1);
    EXPECT(strcmp(reinterpret_cast<char*>(bar), text) == 0);
  }
  Close(device);
  return bad == 0 ? 0 : 1;
}

}  // namespace
}  // namespace client

int main(int argc, char** argv) { return client::Run(argc, argv); }
