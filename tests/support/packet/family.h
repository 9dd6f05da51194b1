// SPDX-License-Identifier: Apache-2.0
// The same frame in the other family, so that what is written down for IPv4 is run with IPv6 as
// well. Addresses and ranges keep their relations; checksums are changed by the difference, so a
// wrong one stays as wrong as it is.
#pragma once

#include <string>

#include "common/ip_address.h"

namespace mesh::testing {

// Of 10.244.1.10: fd00:6d65:af4:0:a:f401:af4:10a; what shares its first bits shares them after it.
// 0.0.0.0, 127.0.0.0/8, 224.0.0.0/3 and the address of hairpins become what they are in IPv6.
IpAddress ToIpv6(const IpAddress& address);
IpPrefix ToIpv6(const IpPrefix& range);
IpAddress ToIpv4(const IpAddress& address);

// A frame of IPv4 as IPv6: IP options become an extension header, a fragment gets its header, ICMP
// its numbers; the reserved flag becomes the highest bit of the flow label. Other frames stay as
// they are; one that ends within its header ends there, too.
std::string FrameToIpv6(const std::string& frame);
// The way back.
std::string FrameToIpv4(const std::string& frame);

}  // namespace mesh::testing
