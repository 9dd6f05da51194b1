// SPDX-License-Identifier: Apache-2.0
#include "agent/cri/exec_stream.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/status.h"

namespace mesh::agent {
namespace {

// SPDY/3.1 draft, section 2: frame types and flags.
constexpr uint16_t kVersion = 3;
constexpr uint16_t kSynStream = 1;
constexpr uint16_t kRstStream = 3;
constexpr uint16_t kPing = 6;
constexpr uint16_t kGoAway = 7;
constexpr uint8_t kFlagFin = 1;
constexpr uint32_t kFrameBytesMax = (1u << 24) - 1;

// The streams of one command, in the order they are opened. Clients use odd numbers.
constexpr uint32_t kErrorStream = 1;
constexpr uint32_t kStdinStream = 3;
constexpr uint32_t kStdoutStream = 5;
constexpr uint32_t kStderrStream = 7;
constexpr uint32_t kResizeStream = 9;

// A piece of standard input per frame: small enough that a resize is not held up.
constexpr size_t kChunkBytes = 32 * 1024;
constexpr size_t kResponseBytesMax = 16 * 1024;

void Append16(std::string& out, uint16_t value) {
  out += static_cast<char>(value >> 8);
  out += static_cast<char>(value);
}
void Append32(std::string& out, uint32_t value) {
  Append16(out, static_cast<uint16_t>(value >> 16));
  Append16(out, static_cast<uint16_t>(value));
}
uint32_t Get32(const char* at) {
  const auto* b = reinterpret_cast<const unsigned char*>(at);
  return uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 | uint32_t{b[3]};
}

void AppendLengthAndFlags(std::string& out, uint8_t flags, size_t length) {
  Append32(out, static_cast<uint32_t>(flags) << 24 | static_cast<uint32_t>(length));
}

// One header block as a piece of the connection's zlib stream. Stored (uncompressed) deflate blocks
// are valid zlib, so no compressor is needed; the empty block at the end is a flush point.
std::string EncodeHeaders(bool first, const std::string& name, const std::string& value) {
  std::string block;
  Append32(block, 1);
  Append32(block, static_cast<uint32_t>(name.size()));
  block += name;
  Append32(block, static_cast<uint32_t>(value.size()));
  block += value;
  std::string out;
  if (first) out += {'\x78', '\x01'};  // RFC 1950: deflate, 32 KiB window, no dictionary
  const auto stored = [&](std::string_view data) {  // RFC 1951, 3.2.4
    const auto size = static_cast<uint16_t>(data.size());
    const auto inverse = static_cast<uint16_t>(~size);
    out += '\0';
    out += static_cast<char>(size & 0xff);
    out += static_cast<char>(size >> 8);
    out += static_cast<char>(inverse & 0xff);
    out += static_cast<char>(inverse >> 8);
    out += data;
  };
  stored(block);
  stored("");
  return out;
}

struct Url {
  std::string host, port, path;
};

absl::StatusOr<Url> ParseUrl(const std::string& text) {
  constexpr std::string_view kScheme = "http://";
  const size_t slash = text.find('/', kScheme.size());
  const size_t colon = text.rfind(':', slash);
  if (!text.starts_with(kScheme) || slash == std::string::npos || colon == std::string::npos ||
      colon < kScheme.size()) {
    return absl::InternalError(
        fmt::format("the runtime's exec address \"{}\" is not http://host:port/path", text));
  }
  Url out;
  out.host = text.substr(kScheme.size(), colon - kScheme.size());
  if (out.host.size() > 2 && out.host.front() == '[')
    out.host = out.host.substr(1, out.host.size() - 2);
  out.port = text.substr(colon + 1, slash - colon - 1);
  out.path = text.substr(slash);
  return out;
}

absl::StatusOr<UniqueFd> ConnectTcp(const Url& url, absl::Duration timeout) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (int error = ::getaddrinfo(url.host.c_str(), url.port.c_str(), &hints, &found); error != 0) {
    return absl::InternalError(
        fmt::format("exec address {}:{}: {}", url.host, url.port, ::gai_strerror(error)));
  }
  UniqueFd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  timeval limit{};
  limit.tv_sec = absl::ToInt64Seconds(timeout);
  // Also bounds connect().
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  const int one = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  const int result = ::connect(fd.get(), found->ai_addr, found->ai_addrlen);
  const int error = errno;
  ::freeaddrinfo(found);
  if (result != 0) {
    return ErrnoStatus(
        error, fmt::format("connect to the runtime's exec address {}:{}", url.host, url.port));
  }
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExecStream>> ExecStream::Open(const std::string& url,
                                                             Options options) {
  ASSIGN_OR_RETURN(const Url parsed, ParseUrl(url));
  ASSIGN_OR_RETURN(UniqueFd fd, ConnectTcp(parsed, options.timeout));
  std::unique_ptr<ExecStream> out(new ExecStream(std::move(fd), options));
  RETURN_IF_ERROR(out->Handshake(parsed.host + ":" + parsed.port, parsed.path));
  RETURN_IF_ERROR(out->OpenStream(kErrorStream, "error"));
  if (options.stdin) RETURN_IF_ERROR(out->OpenStream(kStdinStream, "stdin"));
  RETURN_IF_ERROR(out->OpenStream(kStdoutStream, "stdout"));
  if (!options.tty) RETURN_IF_ERROR(out->OpenStream(kStderrStream, "stderr"));
  if (options.tty) RETURN_IF_ERROR(out->OpenStream(kResizeStream, "resize"));
  // From here a command may be silent for as long as it likes.
  const timeval forever{};
  ::setsockopt(out->fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &forever, sizeof forever);
  ::setsockopt(out->fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever);
  return out;
}

absl::Status ExecStream::Handshake(const std::string& host, const std::string& path) {
  {
    absl::MutexLock lock(&send_mutex_);
    RETURN_IF_ERROR(SendAll(
        fmt::format("POST {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
                    "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n",
                    path, host)));
  }
  std::string response;
  while (!response.ends_with("\r\n\r\n")) {
    if (response.size() > kResponseBytesMax) {
      return absl::InternalError("the runtime's exec server answers with no end of headers");
    }
    char c;  // byte by byte: what follows the headers belongs to SPDY
    RETURN_IF_ERROR(ReceiveAll(&c, 1));
    response += c;
  }
  if (response.starts_with("HTTP/1.1 101")) return absl::OkStatus();
  return absl::InternalError(fmt::format("the runtime's exec server refused: {}",
                                         response.substr(0, response.find("\r\n"))));
}

absl::Status ExecStream::OpenStream(uint32_t id, const std::string& type) {
  absl::MutexLock lock(&send_mutex_);
  const std::string headers =
      EncodeHeaders(!std::exchange(header_stream_begun_, true), "streamtype", type);
  std::string frame;
  Append16(frame, 0x8000 | kVersion);
  Append16(frame, kSynStream);
  AppendLengthAndFlags(frame, 0, 10 + headers.size());
  Append32(frame, id);
  Append32(frame, 0);  // no associated stream
  Append16(frame, 0);  // priority, slot
  frame += headers;
  return SendAll(frame);
}

absl::Status ExecStream::SendData(uint32_t stream_id, std::string_view data, bool last) {
  std::string frame;
  Append32(frame, stream_id);
  AppendLengthAndFlags(frame, last ? kFlagFin : 0, data.size());
  frame += data;
  absl::MutexLock lock(&send_mutex_);
  return SendAll(frame);
}

absl::Status ExecStream::WriteStdin(std::string_view data) {
  while (!data.empty()) {
    const std::string_view piece = data.substr(0, kChunkBytes);
    RETURN_IF_ERROR(SendData(kStdinStream, piece, false));
    data.remove_prefix(piece.size());
  }
  return absl::OkStatus();
}

absl::Status ExecStream::CloseStdin() { return SendData(kStdinStream, "", true); }

absl::Status ExecStream::Resize(uint32_t rows, uint32_t columns) {
  return SendData(kResizeStream, fmt::format("{{\"Width\":{},\"Height\":{}}}\n", columns, rows),
                  false);
}

void ExecStream::Abort() { ::shutdown(fd_.get(), SHUT_RDWR); }

absl::Status ExecStream::SendAll(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "send to the runtime's exec server");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status ExecStream::ReceiveAll(char* out, size_t count) {
  while (count > 0) {
    const ssize_t n = ::recv(fd_.get(), out, count, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "receive from the runtime's exec server");
    if (n == 0) return absl::UnavailableError("the runtime's exec server closed the connection");
    out += n;
    count -= static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<ExecStream::Frame> ExecStream::ReceiveFrame() {
  char head[8];
  RETURN_IF_ERROR(ReceiveAll(head, sizeof head));
  const uint32_t first = Get32(head);
  const uint32_t second = Get32(head + 4);
  Frame frame;
  frame.control = (first >> 31) != 0;
  frame.type = static_cast<uint16_t>(first);
  frame.stream_id = first & 0x7fffffff;
  frame.flags = static_cast<uint8_t>(second >> 24);
  frame.payload.resize(second & kFrameBytesMax);
  RETURN_IF_ERROR(ReceiveAll(frame.payload.data(), frame.payload.size()));
  return frame;
}

absl::StatusOr<ExecEvent> ExecStream::Read() {
  while (true) {
    auto frame = ReceiveFrame();
    if (!frame.ok()) {
      // The server may close right after the verdict.
      if (auto verdict = ParseExecVerdict(verdict_)) {
        if (!verdict->ok()) return verdict->status();
        return ExecEvent{.kind = ExecEvent::Kind::kExit, .exit_code = **verdict};
      }
      return frame.status();
    }
    if (frame->control) {
      if (frame->type == kPing && frame->payload.size() == 4) {
        std::string reply;
        Append16(reply, 0x8000 | kVersion);
        Append16(reply, kPing);
        AppendLengthAndFlags(reply, 0, 4);
        absl::MutexLock lock(&send_mutex_);
        RETURN_IF_ERROR(SendAll(reply + frame->payload));
      } else if (frame->type == kGoAway) {
        return absl::UnavailableError("the runtime's exec server goes away");
      } else if (frame->type == kRstStream && frame->payload.size() == 8 &&
                 Get32(frame->payload.data()) == kErrorStream) {
        return absl::UnavailableError("the runtime's exec server reset the command's stream");
      }
      continue;
    }
    switch (frame->stream_id) {
      case kStdoutStream:
        if (frame->payload.empty()) continue;
        return ExecEvent{.kind = ExecEvent::Kind::kStdout, .data = std::move(frame->payload)};
      case kStderrStream:
        if (frame->payload.empty()) continue;
        return ExecEvent{.kind = ExecEvent::Kind::kStderr, .data = std::move(frame->payload)};
      case kErrorStream:
        verdict_ += frame->payload;
        if (auto verdict = ParseExecVerdict(verdict_)) {
          if (!verdict->ok()) return verdict->status();
          return ExecEvent{.kind = ExecEvent::Kind::kExit, .exit_code = **verdict};
        }
        continue;
      default:
        continue;
    }
  }
}

std::optional<absl::StatusOr<int>> ParseExecVerdict(const std::string& json) {
  const auto document = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded() || !document.is_object()) return std::nullopt;
  const auto text = [](const nlohmann::json& object, const char* key) {
    auto it = object.find(key);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  if (text(document, "status") == "Success") return absl::StatusOr<int>(0);
  if (auto details = document.find("details"); details != document.end() && details->is_object()) {
    if (auto causes = details->find("causes"); causes != details->end() && causes->is_array()) {
      for (const auto& cause : *causes) {
        if (!cause.is_object() || text(cause, "reason") != "ExitCode") continue;
        const std::string message = text(cause, "message");
        int code = 0;
        auto [end, error] = std::from_chars(message.data(), message.data() + message.size(), code);
        if (error == std::errc() && end == message.data() + message.size()) return code;
      }
    }
  }
  return absl::StatusOr<int>(absl::InternalError(text(document, "message")));
}

}  // namespace mesh::agent
