// SPDX-License-Identifier: Apache-2.0
//
// What the lab's guest does with a network card.

#ifndef PASSTHRU_TESTING_LAB_GUEST_NETWORK_H_
#define PASSTHRU_TESTING_LAB_GUEST_NETWORK_H_

#include <cstdint>
#include <string>
#include <vector>

namespace passthru::lab {

// A card by its driver's name, and the first three bytes of the IPv4 network
// behind it, as in "10.0.2". QEMU's user network answers at address 2 of it,
// and gives files by TFTP.
struct Card {
  std::string driver;
  std::string network;
};

// Parses "e1000e:10.0.2".
Card ParseCard(const std::string& text);

// Gives the card an address, waits for its link, and has large pings answered.
// Returns what went wrong, or an empty text.
std::string Ping(const Card& card);

// Gets the file "data" by TFTP (RFC 1350, 2348) over a card that can ping.
// Returns what went wrong, or an empty text.
std::string Fetch(const Card& card, std::vector<uint8_t>& file);

}  // namespace passthru::lab

#endif  // PASSTHRU_TESTING_LAB_GUEST_NETWORK_H_
