// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * No program: the maps that the programs share, so that they are there before the first of them is
 * loaded. Those of one program alone (mesh_scratch) and of the way from other programs to these
 * (lib/moving.h) stand elsewhere.
 */
#include "lib/affinity.h"
#include "lib/endpoint.h"
#include "lib/flow.h"
#include "lib/fragment.h"
#include "lib/identity.h"
#include "lib/isolation.h"
#include "lib/listen.h"
#include "lib/load.h"
#include "lib/maglev.h"
#include "lib/metrics.h"
#include "lib/outside.h"
#include "lib/owner.h"
#include "lib/policy.h"
#include "lib/service.h"
#include "lib/source_range.h"
#include "lib/state.h"
#include "lib/traffic.h"
#include "lib/tunnel.h"

char _license[] SEC("license") = "Dual BSD/GPL";
