// SPDX-License-Identifier: Apache-2.0
#include "testing/lab/guest_network.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace passthru::lab {
namespace {

constexpr int kTries = 60;
constexpr int kAnswerMilliseconds = 1000;

class Socket {
 public:
  Socket(int type, int protocol)
      : fd_(socket(AF_INET, type | SOCK_CLOEXEC, protocol)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

  bool BindTo(const std::string& interface) {
    return setsockopt(fd_, SOL_SOCKET, SO_BINDTODEVICE, interface.c_str(),
                      static_cast<socklen_t>(interface.size() + 1)) == 0;
  }
  bool Send(const std::vector<uint8_t>& bytes, const sockaddr_in& to) {
    return sendto(fd_, bytes.data(), bytes.size(), 0,
                  reinterpret_cast<const sockaddr*>(&to),
                  sizeof(to)) == static_cast<ssize_t>(bytes.size());
  }
  // Returns the next packet, or nothing if none comes in time.
  std::optional<std::vector<uint8_t>> Receive(sockaddr_in& from) {
    pollfd in = {.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&in, 1, kAnswerMilliseconds) <= 0) return std::nullopt;
    std::vector<uint8_t> bytes(2048);
    socklen_t size = sizeof(from);
    const ssize_t n = recvfrom(fd_, bytes.data(), bytes.size(), 0,
                               reinterpret_cast<sockaddr*>(&from), &size);
    if (n < 0) return std::nullopt;
    bytes.resize(static_cast<size_t>(n));
    return bytes;
  }

 private:
  const int fd_;
};

std::string Errno(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

sockaddr_in Address(const std::string& text, uint16_t port = 0) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, text.c_str(), &address.sin_addr);
  return address;
}

// Returns the name of the network interface that a driver made, for which this
// waits, or an empty text.
std::string InterfaceOf(const std::string& driver) {
  for (int tries = 0; tries < 20 * kTries; ++tries) {
    std::error_code error;
    for (const auto& entry :
         std::filesystem::directory_iterator("/sys/class/net", error)) {
      const auto link =
          std::filesystem::read_symlink(entry.path() / "device/driver", error);
      if (!error && link.filename() == driver) return entry.path().filename();
    }
    usleep(50 * 1000);
  }
  return "";
}

std::string SetAddress(const std::string& interface, int request,
                       const std::string& address) {
  const Socket any(SOCK_DGRAM, 0);
  ifreq change = {};
  interface.copy(change.ifr_name, IFNAMSIZ - 1);
  const sockaddr_in to = Address(address);
  std::memcpy(&change.ifr_addr, &to, sizeof(to));
  if (ioctl(any.fd(), static_cast<unsigned long>(request), &change) != 0) {
    return Errno("the address " + address + " for " + interface);
  }
  return "";
}

std::string BringUp(const std::string& interface, const std::string& network) {
  std::string error = SetAddress(interface, SIOCSIFADDR, network + ".15");
  if (error.empty()) {
    error = SetAddress(interface, SIOCSIFNETMASK, "255.255.255.0");
  }
  if (!error.empty()) return error;
  const Socket any(SOCK_DGRAM, 0);
  ifreq change = {};
  interface.copy(change.ifr_name, IFNAMSIZ - 1);
  change.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(any.fd(), SIOCSIFFLAGS, &change) != 0) {
    return Errno("bringing up " + interface);
  }
  for (int tries = 0; tries < 20 * kTries; ++tries) {
    char carrier = '0';
    std::ifstream("/sys/class/net/" + interface + "/carrier") >> carrier;
    if (carrier == '1') return "";
    usleep(50 * 1000);
  }
  return interface + " has no link";
}

// The sum of RFC 1071.
uint16_t InternetSum(const std::vector<uint8_t>& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
    sum += static_cast<uint32_t>(bytes[i] << 8 | bytes[i + 1]);
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// Returns an ICMP echo (RFC 792) of about the largest frame, which holds
// `sequence` in each byte.
std::vector<uint8_t> Echo(uint8_t type, uint8_t sequence) {
  std::vector<uint8_t> echo(1400, sequence);
  echo[0] = type;
  echo[1] = echo[2] = echo[3] = 0;
  const uint16_t sum = InternetSum(echo);
  echo[2] = static_cast<uint8_t>(sum >> 8);
  echo[3] = static_cast<uint8_t>(sum);
  return echo;
}

// Returns whether the raw IP packet is this ICMP message.
bool Holds(const std::vector<uint8_t>& packet,
           const std::vector<uint8_t>& message) {
  if (packet.empty()) return false;
  const size_t header = size_t{4} * (packet[0] & 0xf);
  return packet.size() == header + message.size() &&
         std::equal(message.begin(), message.end(),
                    packet.begin() + static_cast<std::ptrdiff_t>(header));
}

std::vector<uint8_t> ReadRequest() {
  constexpr char kText[] = "\0\1data\0octet\0blksize\0001400";
  return {kText, kText + sizeof(kText)};
}

std::vector<uint8_t> Acknowledge(uint16_t block) {
  return {0, 4, static_cast<uint8_t>(block >> 8), static_cast<uint8_t>(block)};
}

}  // namespace

Card ParseCard(const std::string& text) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return {text, ""};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

std::string Ping(const Card& card) {
  const std::string interface = InterfaceOf(card.driver);
  if (interface.empty()) return "no network card of " + card.driver;
  std::string error = BringUp(interface, card.network);
  if (!error.empty()) return error;
  Socket icmp(SOCK_RAW, IPPROTO_ICMP);
  if (!icmp.BindTo(interface)) return Errno("a raw socket on " + interface);
  constexpr uint8_t kAnswers = 10;
  uint8_t answers = 0;
  for (int tries = 0; tries < kTries && answers < kAnswers; ++tries) {
    const sockaddr_in to = Address(card.network + ".2");
    const uint8_t sequence = static_cast<uint8_t>(answers + 1);
    if (!icmp.Send(Echo(ICMP_ECHO, sequence), to)) {
      return Errno("a ping over " + interface);
    }
    sockaddr_in from = {};
    const std::vector<uint8_t> wanted = Echo(ICMP_ECHOREPLY, sequence);
    while (const auto packet = icmp.Receive(from)) {
      if (!Holds(*packet, wanted)) continue;
      ++answers;
      break;
    }
  }
  if (answers == kAnswers) return "";
  return card.driver + ": only " + std::to_string(answers) +
         " pings are answered";
}

std::string Fetch(const Card& card, std::vector<uint8_t>& file) {
  const std::string interface = InterfaceOf(card.driver);
  Socket udp(SOCK_DGRAM, 0);
  if (!udp.BindTo(interface)) return Errno("a socket on " + interface);
  constexpr size_t kBlockSize = 1400;
  constexpr uint16_t kTftpPort = 69;
  sockaddr_in server = Address(card.network + ".2", kTftpPort);
  std::vector<uint8_t> message = ReadRequest();
  file.clear();
  uint16_t block = 0;
  for (int tries = 0; tries < kTries;) {
    if (!udp.Send(message, server)) return Errno("TFTP over " + interface);
    sockaddr_in from = {};
    const auto packet = udp.Receive(from);
    if (!packet.has_value()) {
      ++tries;
      continue;
    }
    if (packet->size() < 4) return "a short TFTP packet";
    const uint8_t code = (*packet)[1];
    const uint16_t number =
        static_cast<uint16_t>((*packet)[2] << 8 | (*packet)[3]);
    constexpr uint8_t kData = 3;
    constexpr uint8_t kOptions = 6;
    server = from;
    if (code == kOptions && block == 0) {
      message = Acknowledge(0);
    } else if (code == kData && number == block + 1) {
      file.insert(file.end(), packet->begin() + 4, packet->end());
      message = Acknowledge(++block);
      if (packet->size() < 4 + kBlockSize) {
        udp.Send(message, server);
        return "";
      }
    } else if (code != kData) {
      return "TFTP over " + interface + " answers with the code " +
             std::to_string(code);
    }
  }
  return "TFTP over " + interface + " does not answer after " +
         std::to_string(file.size()) + " bytes";
}

}  // namespace passthru::lab
