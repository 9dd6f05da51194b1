// SPDX-License-Identifier: Apache-2.0
#include "dataplane/bpf/prog_run.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include <cerrno>

#include "dataplane/bpf/errors.h"

namespace mesh::dataplane {

absl::StatusOr<ProgRunResult> ProgRun(int program_fd, const ProgRunRequest& request) {
  ProgRunResult result;
  // Room for an encapsulation.
  result.packet.resize(request.packet.size() + 256);
  __sk_buff context{};
  context.ifindex = static_cast<uint32_t>(request.ifindex);
  context.cb[0] = request.cb[0];
  context.cb[1] = request.cb[1];
  bpf_test_run_opts options{};
  options.sz = sizeof(options);
  options.data_in = request.packet.data();
  options.data_size_in = static_cast<uint32_t>(request.packet.size());
  options.data_out = result.packet.data();
  options.data_size_out = static_cast<uint32_t>(result.packet.size());
  xdp_md xdp_context{};
  xdp_context.data_end = static_cast<uint32_t>(request.packet.size());
  xdp_context.ingress_ifindex = static_cast<uint32_t>(request.ifindex);
  options.ctx_in = request.xdp ? static_cast<void*>(&xdp_context) : &context;
  options.ctx_size_in = request.xdp ? sizeof(xdp_context) : sizeof(context);
  options.repeat = static_cast<int>(request.repeat);
  if (bpf_prog_test_run_opts(program_fd, &options) != 0) {
    return BpfErrnoStatus(errno, "run a program");
  }
  result.verdict = static_cast<int>(options.retval);
  result.packet.resize(options.data_size_out);
  result.duration_ns = options.duration;
  return result;
}

}  // namespace mesh::dataplane
