/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every size of a map, with its arithmetic. */
#pragma once

/* 10,000 Services of up to 6 ports. */
#define MESH_SERVICE_MAX_ENTRIES 65536
/* Backends of all Service ports: 65,536 ports x 4, or 10,000 x 26. */
#define MESH_BACKEND_MAX_ENTRIES 262144
/* Slots exist twice while a Service changes. */
#define MESH_SLOT_MAX_ENTRIES 524288
/* Pods of one node: a /20 of addresses. */
#define MESH_ENDPOINT_MAX_ENTRIES 4096
/* Who has flows: pods of the node, and those of other nodes that talk to them. */
#define MESH_OWNER_MAX_ENTRIES 65536
/* Other nodes. */
#define MESH_TUNNEL_MAX_ENTRIES	   8192
#define MESH_NAMESPACE_MAX_ENTRIES 65536
/*
 * Two entries per flow: 262,144 flows of one node, or 26,000 new connections a second that each
 * stay 10 s after their end. Not preallocated; 200 bytes per entry with the kernel's header, 105 MB
 * when full.
 */
#define MESH_FLOW_MAX_ENTRIES 524288
/* Two sets for each Service port with frontends outside. */
#define MESH_SET_MAX_ENTRIES 131072
/* Parts of Maglev tables: 26,214 sets of up to 10 backends. 1 KB each, 134 MB when full. */
#define MESH_MAGLEV_MAX_ENTRIES 131072
/* Clients with session affinity; the least recently seen gives way. */
#define MESH_AFFINITY_MAX_ENTRIES     65536
#define MESH_SOURCE_RANGE_MAX_ENTRIES 65536
/* Datagrams whose fragments are on their way; the oldest gives way. */
#define MESH_FRAGMENT_MAX_ENTRIES      8192
#define MESH_NO_MASQUERADE_MAX_ENTRIES 256
#define MESH_ANNOUNCE_MAX_ENTRIES      4096
/* Source ports of masqueraded flows, per destination: outside of the local port range and of the
 * NodePorts, so that no socket of the node uses them. */
#define MESH_MASQUERADE_PORT_FIRST 10000
#define MESH_MASQUERADE_PORT_COUNT 20000
/* Pods of all other nodes: 150,000 are promised. Not preallocated. */
#define MESH_IDENTITY_MAX_ENTRIES 262144
/*
 * Bytes of the ring of flow events, a power of two: 3,855 records of 128 and the kernel's 8. Read
 * each 20 ms while somebody listens, so 190,000 a second are told.
 */
#define MESH_EVENTS_BYTES 524288
/*
 * Rows of policies. Not preallocated; the hash takes 16 bytes of each place at once. The agent
 * fills half of each: while all sets get other numbers, both kinds are there.
 */
#define MESH_POLICY_PEER_MAX_ENTRIES  262144
#define MESH_POLICY_BLOCK_MAX_ENTRIES 65536
#define MESH_POLICY_PORT_MAX_ENTRIES  262144
/* Sets by which packets were dropped: 4 of each pod at most, and the agent removes old ones. */
#define MESH_POLICY_DROPS_MAX_ENTRIES 16384
