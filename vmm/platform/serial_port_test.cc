// SPDX-License-Identifier: Apache-2.0
#include "passthru/vmm/platform/serial_port.h"

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace passthru::vmm {
namespace {

// Registers by offset.
constexpr uint64_t kData = 0;
constexpr uint64_t kIer = 1;
constexpr uint64_t kIir = 2;
constexpr uint64_t kLcr = 3;
constexpr uint64_t kMcr = 4;
constexpr uint64_t kLsr = 5;
constexpr uint64_t kMsr = 6;
constexpr uint64_t kScr = 7;

class SerialPortTest : public ::testing::Test {
 protected:
  uint8_t In(uint64_t offset) {
    uint8_t value = 0;
    EXPECT_TRUE(port_.Read(offset, absl::MakeSpan(&value, 1)).ok());
    return value;
  }
  void Out(uint64_t offset, uint8_t value) {
    EXPECT_TRUE(port_.Write(offset, absl::MakeConstSpan(&value, 1)).ok());
  }

  std::string sent_;
  int interrupts_ = 0;
  SerialPort port_{
      {.output = [this](uint8_t byte) { sent_ += static_cast<char>(byte); },
       .interrupt = [this] { ++interrupts_; }}};
};

TEST_F(SerialPortTest, WhatTheGuestSendsIsOutAtOnce) {
  for (const char c : std::string("hello")) {
    EXPECT_EQ(In(kLsr), 0x60) << "the transmitter is empty";
    Out(kData, static_cast<uint8_t>(c));
  }
  EXPECT_EQ(sent_, "hello");
  EXPECT_EQ(interrupts_, 0);
  EXPECT_EQ(port_.accesses(), 10u);
}

TEST_F(SerialPortTest, TheGuestReceivesInput) {
  Out(kIer, 0x01);
  port_.Input("ab");
  EXPECT_EQ(interrupts_, 1);
  EXPECT_EQ(In(kIir), 0x04);
  EXPECT_EQ(In(kLsr) & 1, 1);
  EXPECT_EQ(In(kData), 'a');
  EXPECT_EQ(In(kIir), 0x04);
  EXPECT_EQ(In(kData), 'b');
  EXPECT_EQ(In(kIir), 0x01);
  EXPECT_EQ(In(kLsr) & 1, 0);
  EXPECT_EQ(In(kData), 0);
  port_.Input("c");
  EXPECT_EQ(interrupts_, 2) << "the line went down and up";
}

TEST_F(SerialPortTest, InputWaitsForItsInterruptToBeEnabled) {
  port_.Input("a");
  EXPECT_EQ(interrupts_, 0);
  Out(kIer, 0x01);
  EXPECT_EQ(interrupts_, 1);
}

TEST_F(SerialPortTest, AnEmptyTransmitterInterruptsWhenEnabledAndAfterABurst) {
  Out(kIer, 0x02);
  EXPECT_EQ(interrupts_, 1);
  EXPECT_EQ(In(kIir), 0x02);
  EXPECT_EQ(In(kIir), 0x01) << "reading it takes it";
  Out(kData, 'x');
  EXPECT_EQ(interrupts_, 2);
  Out(kData, 'y');
  EXPECT_EQ(interrupts_, 2) << "the line is still up";
  EXPECT_EQ(In(kIir), 0x02);
  Out(kIer, 0x00);
  Out(kIer, 0x02);
  EXPECT_EQ(interrupts_, 3);
}

TEST_F(SerialPortTest, LostInputIsAnOverrun) {
  Out(kIer, 0x05);
  port_.Input(std::string(SerialPort::kInputLimit + 1, 'z'));
  EXPECT_EQ(In(kIir), 0x06);
  EXPECT_EQ(In(kLsr), 0x63);
  EXPECT_EQ(In(kLsr), 0x61) << "reading it takes it";
  EXPECT_EQ(In(kIir), 0x04);
  size_t received = 0;
  while ((In(kLsr) & 1) != 0) {
    EXPECT_EQ(In(kData), 'z');
    ++received;
  }
  EXPECT_EQ(received, SerialPort::kInputLimit);
}

TEST_F(SerialPortTest, DriversFindA16550A) {
  // As autoconfig() of Linux's 8250_port.c looks.
  Out(kIer, 0x0f);
  EXPECT_EQ(In(kIer), 0x0f);
  Out(kIer, 0);
  Out(kMcr, 0x1a);  // loopback, OUT2, RTS
  EXPECT_EQ(In(kMsr) & 0xf0, 0x90);
  Out(kMcr, 0x10);
  EXPECT_EQ(In(kMsr) & 0xf0, 0x00);
  Out(kData, 'l');
  EXPECT_EQ(In(kData), 'l');
  EXPECT_EQ(sent_, "");
  Out(kMcr, 0x08);
  EXPECT_EQ(In(kMsr), 0xb0) << "a partner is there";
  EXPECT_EQ(In(kIir) >> 6, 0);
  Out(kIir, 0x01);
  EXPECT_EQ(In(kIir) >> 6, 3) << "with FIFOs";
  Out(kScr, 0x5a);
  EXPECT_EQ(In(kScr), 0x5a);
}

TEST_F(SerialPortTest, TheDivisorIsNoData) {
  Out(kLcr, 0x83);
  Out(kData, 0x34);
  Out(kIer, 0x12);
  EXPECT_EQ(In(kData), 0x34);
  EXPECT_EQ(In(kIer), 0x12);
  Out(kLcr, 0x03);
  EXPECT_EQ(In(kLcr), 0x03);
  EXPECT_EQ(In(kIer), 0x00);
  EXPECT_EQ(sent_, "");
}

TEST_F(SerialPortTest, AccessesOfSeveralBytesReachSeveralRegisters) {
  uint8_t values[8] = {};
  EXPECT_TRUE(port_.Read(kLcr, absl::MakeSpan(values)).ok());
  EXPECT_EQ(values[2], 0x60);
  EXPECT_EQ(values[7], 0xff) << "beyond the last one";
}

}  // namespace
}  // namespace passthru::vmm
