// SPDX-License-Identifier: Apache-2.0
#ifndef PASSTHRU_TESTING_MODELS_NVME_NVME_SPEC_H_
#define PASSTHRU_TESTING_MODELS_NVME_NVME_SPEC_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "passthru/pci/little_endian.h"

// The part of the NVM Express Base Specification 1.4 that the controller model
// and the guest's driver both use. Section numbers refer to that document.

namespace passthru::models::nvme {

// Controller registers, 3.1.
inline constexpr uint64_t kRegCap = 0x00;  // 64 bits.
inline constexpr uint64_t kRegVs = 0x08;
inline constexpr uint64_t kRegIntms = 0x0c;
inline constexpr uint64_t kRegIntmc = 0x10;
inline constexpr uint64_t kRegCc = 0x14;
inline constexpr uint64_t kRegCsts = 0x1c;
inline constexpr uint64_t kRegNssr = 0x20;
inline constexpr uint64_t kRegAqa = 0x24;
inline constexpr uint64_t kRegAsq = 0x28;  // 64 bits.
inline constexpr uint64_t kRegAcq = 0x30;  // 64 bits.
// The controller memory buffer, 3.1.11, 3.1.12, 3.1.16 and 3.1.17.
inline constexpr uint64_t kRegCmbloc = 0x38;
inline constexpr uint64_t kRegCmbsz = 0x3c;
inline constexpr uint64_t kRegCmbmsc = 0x50;  // 64 bits.
inline constexpr uint64_t kRegCmbsts = 0x58;
inline constexpr uint64_t kRegDoorbells = 0x1000;

// CAP.CMBS, CMBMSC.CRE and CMBMSC.CMSE.
inline constexpr uint64_t kCapCmbs = uint64_t{1} << 57;
inline constexpr uint64_t kCmbmscRegistersEnabled = 1u << 0;
inline constexpr uint64_t kCmbmscSpaceEnabled = 1u << 1;

// CC, 3.1.5.
inline constexpr uint32_t kCcEnable = 1u << 0;
inline constexpr uint32_t kCcShutdownMask = 3u << 14;
inline constexpr uint32_t kCcShutdownNormal = 1u << 14;
constexpr uint32_t CcCommandSet(uint32_t cc) { return (cc >> 4) & 0x7; }
constexpr uint32_t CcPageSizeShift(uint32_t cc) {
  return 12 + ((cc >> 7) & 0xf);
}
constexpr uint32_t CcSubmissionEntryShift(uint32_t cc) {
  return (cc >> 16) & 0xf;
}
constexpr uint32_t CcCompletionEntryShift(uint32_t cc) {
  return (cc >> 20) & 0xf;
}

// CSTS, 3.1.6.
inline constexpr uint32_t kCstsReady = 1u << 0;
inline constexpr uint32_t kCstsFatal = 1u << 1;
inline constexpr uint32_t kCstsShutdownMask = 3u << 2;
inline constexpr uint32_t kCstsShutdownOccurring = 1u << 2;
inline constexpr uint32_t kCstsShutdownComplete = 2u << 2;

// Admin opcodes (5) and NVM command set opcodes (6).
enum class AdminOpcode : uint8_t {
  kDeleteIoSubmissionQueue = 0x00,
  kCreateIoSubmissionQueue = 0x01,
  kGetLogPage = 0x02,
  kDeleteIoCompletionQueue = 0x04,
  kCreateIoCompletionQueue = 0x05,
  kIdentify = 0x06,
  kAbort = 0x08,
  kSetFeatures = 0x09,
  kGetFeatures = 0x0a,
  kAsyncEventRequest = 0x0c,
};
enum class IoOpcode : uint8_t {
  kFlush = 0x00,
  kWrite = 0x01,
  kRead = 0x02,
  kWriteZeroes = 0x08,
  kDatasetManagement = 0x09,
};

// Identify CNS values of figure 244. 05h to 07h and 1Ch are those of TP 4056,
// which a controller with CAP.CSS bit 6 has.
inline constexpr uint8_t kCnsNamespace = 0x00;
inline constexpr uint8_t kCnsController = 0x01;
inline constexpr uint8_t kCnsActiveNamespaces = 0x02;
inline constexpr uint8_t kCnsNamespaceDescriptors = 0x03;
inline constexpr uint8_t kCnsCommandSetNamespace = 0x05;
inline constexpr uint8_t kCnsCommandSetController = 0x06;
inline constexpr uint8_t kCnsCommandSetActiveNamespaces = 0x07;
inline constexpr uint8_t kCnsCommandSets = 0x1c;

// Feature identifiers, 5.21.1.
inline constexpr uint8_t kFeatureVolatileWriteCache = 0x06;
inline constexpr uint8_t kFeatureNumberOfQueues = 0x07;
inline constexpr uint8_t kFeatureInterruptVector = 0x09;

// Log page identifiers, 5.14.1.
inline constexpr uint8_t kLogError = 0x01;
inline constexpr uint8_t kLogSmart = 0x02;
inline constexpr uint8_t kLogFirmwareSlot = 0x03;
inline constexpr uint8_t kLogCommandEffects = 0x05;

inline constexpr uint32_t kBroadcastNamespace = 0xffffffff;

// The Status Field of a completion without its phase bit (4.6.1). The status
// code is in bits 7:0, the status code type in 10:8, and Do Not Retry in 14.
class Status {
 public:
  constexpr Status() = default;
  constexpr explicit Status(uint16_t raw) : raw_(raw) {}

  // Returns the same status with Do Not Retry set.
  constexpr Status Dnr() const {
    return Status(static_cast<uint16_t>(raw_ | kDnr));
  }

  constexpr bool ok() const { return code() == 0; }
  // Type and code without Do Not Retry, like the constants below.
  constexpr uint16_t code() const { return raw_ & 0x7ff; }
  constexpr uint16_t raw() const { return raw_; }

  friend constexpr bool operator==(Status, Status) = default;

 private:
  static constexpr uint16_t kDnr = 1u << 14;
  uint16_t raw_ = 0;
};

inline constexpr Status kSuccess(0x000);
inline constexpr Status kInvalidOpcode(0x001);
inline constexpr Status kInvalidField(0x002);
inline constexpr Status kDataTransferError(0x004);
inline constexpr Status kInvalidNamespace(0x00b);
inline constexpr Status kCommandSequenceError(0x00c);
inline constexpr Status kPrpOffsetInvalid(0x013);
inline constexpr Status kLbaOutOfRange(0x080);
inline constexpr Status kCompletionQueueInvalid(0x100);
inline constexpr Status kInvalidQueueIdentifier(0x101);
inline constexpr Status kInvalidQueueSize(0x102);
inline constexpr Status kAsyncEventLimitExceeded(0x105);
inline constexpr Status kInvalidInterruptVector(0x108);
inline constexpr Status kInvalidLogPage(0x109);
inline constexpr Status kInvalidQueueDeletion(0x10c);
inline constexpr Status kFeatureNotSaveable(0x10d);
inline constexpr Status kWriteFault(0x280);
inline constexpr Status kUnrecoveredReadError(0x281);

// A submission queue entry, 4.2.
class Command {
 public:
  static constexpr size_t kSize = 64;
  static constexpr unsigned kSizeShift = 6;

  uint8_t opcode() const { return bytes_[0]; }
  // FUSE and PSDT. Zero means a command that is not fused and uses PRPs.
  uint8_t flags() const { return bytes_[1]; }
  uint16_t command_id() const { return Get<uint16_t>(2); }
  uint32_t namespace_id() const { return Get<uint32_t>(4); }
  uint64_t prp1() const { return Get<uint64_t>(24); }
  uint64_t prp2() const { return Get<uint64_t>(32); }
  // Command dword `n`, 10 to 15.
  uint32_t dword(unsigned n) const { return Get<uint32_t>(4 * n); }
  uint64_t qword(unsigned first_dword) const {
    return Get<uint64_t>(4 * first_dword);
  }

  void set_opcode(AdminOpcode opcode) {
    bytes_[0] = static_cast<uint8_t>(opcode);
  }
  void set_opcode(IoOpcode opcode) { bytes_[0] = static_cast<uint8_t>(opcode); }
  void set_raw_opcode(uint8_t opcode) { bytes_[0] = opcode; }
  void set_flags(uint8_t flags) { bytes_[1] = flags; }
  void set_command_id(uint16_t id) { Set<uint16_t>(2, id); }
  void set_namespace_id(uint32_t id) { Set<uint32_t>(4, id); }
  void set_prp1(uint64_t address) { Set<uint64_t>(24, address); }
  void set_prp2(uint64_t address) { Set<uint64_t>(32, address); }
  void set_dword(unsigned n, uint32_t value) { Set<uint32_t>(4 * n, value); }
  void set_qword(unsigned first_dword, uint64_t value) {
    Set<uint64_t>(4 * first_dword, value);
  }

  absl::Span<const uint8_t> bytes() const { return bytes_; }
  absl::Span<uint8_t> mutable_bytes() { return absl::MakeSpan(bytes_); }

 private:
  template <typename T>
  T Get(size_t offset) const {
    return pci::LoadLittleEndian<T>(bytes_, offset);
  }
  template <typename T>
  void Set(size_t offset, T value) {
    pci::StoreLittleEndian<T>(absl::MakeSpan(bytes_), offset, value);
  }

  std::array<uint8_t, kSize> bytes_{};
};

// A completion queue entry, 4.6.
struct Completion {
  static constexpr size_t kSize = 16;
  static constexpr unsigned kSizeShift = 4;

  uint32_t result = 0;  // Command specific, dword 0.
  uint16_t submission_head = 0;
  uint16_t submission_queue = 0;
  uint16_t command_id = 0;
  Status status;
  bool phase = false;

  std::array<uint8_t, kSize> Encode() const;
  static Completion Decode(absl::Span<const uint8_t> bytes);
};

}  // namespace passthru::models::nvme

#endif  // PASSTHRU_TESTING_MODELS_NVME_NVME_SPEC_H_
