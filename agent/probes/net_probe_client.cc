// SPDX-License-Identifier: Apache-2.0
#include "agent/probes/net_probe_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "agent/probes/http_message.h"

namespace mesh::agent {
namespace {

constexpr int kRedirectsMax = 10;

std::string ErrnoText(int error) { return ::strerrordesc_np(error); }

// The address as the kernel takes it; 0: none.
socklen_t FillAddress(const std::string& host, uint16_t port, sockaddr_storage* out) {
  *out = {};
  auto* v4 = reinterpret_cast<sockaddr_in*>(out);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(out);
  if (::inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    return sizeof(sockaddr_in);
  }
  if (::inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    return sizeof(sockaddr_in6);
  }
  return 0;
}

std::string Endpoint(const std::string& host, uint16_t port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

}  // namespace

// One question on its way. Each step is taken as far as it gets without waiting.
class NetProbeClient::Session {
 public:
  Session(std::optional<HttpQuestion> http, std::string host, uint16_t port, absl::Duration timeout,
          Done done)
      : http_(std::move(http)),
        host_(std::move(host)),
        port_(port),
        timeout_(timeout),
        deadline_(absl::Now() + timeout),
        done_(std::move(done)) {}
  ~Session() { FreeTls(); }

  absl::Time deadline() const { return deadline_; }
  int fd() const { return fd_.get(); }
  void Answer(ProbeAnswer answer) { done_(std::move(answer)); }
  bool wants_tls() const { return http_ && http_->tls; }

  ProbeAnswer Late() const {
    if (!http_) {
      return {.text = fmt::format("dial tcp {}: i/o timeout", Endpoint(host_, port_))};
    }
    return {.text = Failed(fmt::format("no answer within {}", absl::FormatDuration(timeout_)))};
  }

  // A new socket, connecting; an answer when that fails at once.
  std::optional<ProbeAnswer> Connect(ssl_ctx_st* tls) {
    FreeTls();
    sockaddr_storage address;
    const socklen_t length = FillAddress(host_, port_, &address);
    if (length == 0) return ProbeAnswer{.text = fmt::format("\"{}\" is no address", host_)};
    fd_.reset(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd_) return ProbeAnswer{.text = ErrnoText(errno)};
    sent_ = 0;
    received_.clear();
    state_ = State::kConnecting;
    if (::connect(fd(), reinterpret_cast<sockaddr*>(&address), length) != 0 &&
        errno != EINPROGRESS) {
      return DialError(errno);
    }
    if (!http_) return std::nullopt;
    request_ = HttpRequestText(*http_);
    if (http_->tls) {
      ssl_ = ::SSL_new(tls);
      ::SSL_set_fd(ssl_, fd());
    }
    return std::nullopt;
  }

  // What to wait for next, as epoll calls it.
  uint32_t wanted() const { return wanted_; }
  bool redirected() const { return redirected_; }
  void ClearRedirected() { redirected_ = false; }

  // nullopt: not yet, or redirected().
  std::optional<ProbeAnswer> Step() {
    if (state_ == State::kConnecting) {
      sockaddr_storage peer;
      socklen_t length = sizeof(peer);
      int error = 0;
      socklen_t error_length = sizeof(error);
      ::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &error_length);
      if (error != 0) return DialError(error);
      if (::getpeername(fd(), reinterpret_cast<sockaddr*>(&peer), &length) != 0) {
        wanted_ = EPOLLOUT;
        return std::nullopt;
      }
      if (!http_) return ProbeAnswer{.ok = true};
      state_ = ssl_ == nullptr ? State::kWriting : State::kHandshake;
    }
    if (state_ == State::kHandshake) {
      const int result = ::SSL_connect(ssl_);
      if (result != 1) return TlsWait(result, "TLS handshake failed");
      state_ = State::kWriting;
    }
    while (state_ == State::kWriting) {
      const ssize_t n = Write();
      if (n == kWait) return std::nullopt;
      if (n < 0) return ProbeAnswer{.text = Failed(problem_)};
      sent_ += static_cast<size_t>(n);
      if (sent_ == request_.size()) state_ = State::kReading;
    }
    return Read();
  }

 private:
  enum class State : uint8_t { kConnecting, kHandshake, kWriting, kReading };
  static constexpr ssize_t kWait = -2;

  std::string Failed(const std::string& why) const {
    return fmt::format("Get \"{}://{}{}\": {}", http_->tls ? "https" : "http",
                       Endpoint(http_->host, http_->port),
                       http_->path.starts_with('/') ? http_->path : "/" + http_->path, why);
  }
  ProbeAnswer DialError(int error) const {
    const std::string why =
        fmt::format("dial tcp {}: connect: {}", Endpoint(host_, port_), ErrnoText(error));
    return {.text = http_ ? Failed(why) : why};
  }
  void FreeTls() {
    if (ssl_ != nullptr) ::SSL_free(ssl_);
    ssl_ = nullptr;
  }

  // nullopt: wait. REQUIRES: a call of OpenSSL just returned `result`.
  std::optional<ProbeAnswer> TlsWait(int result, const char* what) {
    const int error = ::SSL_get_error(ssl_, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
      wanted_ = error == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT;
      return std::nullopt;
    }
    const char* reason = ::ERR_reason_error_string(::ERR_get_error());
    ::ERR_clear_error();
    return ProbeAnswer{.text = Failed(fmt::format("{}{}{}", what, reason == nullptr ? "" : ": ",
                                                  reason == nullptr ? "" : reason))};
  }

  ssize_t Write() {
    const char* data = request_.data() + sent_;
    const size_t size = request_.size() - sent_;
    if (ssl_ != nullptr) {
      const int n = ::SSL_write(ssl_, data, static_cast<int>(size));
      if (n > 0) return n;
      const auto failed = TlsWait(n, "write failed");
      if (!failed) return kWait;
      problem_ = "write failed";
      return -1;
    }
    const ssize_t n = ::send(fd(), data, size, MSG_NOSIGNAL);
    if (n >= 0) return n;
    if (errno == EAGAIN || errno == EINTR) {
      wanted_ = EPOLLOUT;
      return kWait;
    }
    problem_ = ErrnoText(errno);
    return -1;
  }

  std::optional<ProbeAnswer> Read() {
    char buffer[4096];
    while (true) {
      bool closed = false;
      if (ssl_ != nullptr) {
        const int n = ::SSL_read(ssl_, buffer, sizeof(buffer));
        if (n > 0) {
          received_.append(buffer, static_cast<size_t>(n));
        } else {
          const int error = ::SSL_get_error(ssl_, n);
          if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
            wanted_ = error == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT;
            return std::nullopt;
          }
          ::ERR_clear_error();
          closed = true;  // many servers end without the closing alert
        }
      } else {
        const ssize_t n = ::recv(fd(), buffer, sizeof(buffer), 0);
        if (n > 0) {
          received_.append(buffer, static_cast<size_t>(n));
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
          wanted_ = EPOLLIN;
          return std::nullopt;
        } else if (n < 0 && received_.empty()) {
          return ProbeAnswer{.text = Failed(ErrnoText(errno))};
        } else {
          closed = true;
        }
      }
      if (const auto answer = ParseHttpAnswer(received_, closed)) return Judge(*answer);
    }
  }

  std::optional<ProbeAnswer> Judge(const HttpAnswer& answer) {
    if (answer.status == 0)
      return ProbeAnswer{.text = Failed(received_.empty() ? "EOF" : "malformed HTTP response")};
    const int status = answer.status;
    const bool moved =
        status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (moved && !answer.location.empty()) {
      auto next = FollowRedirect(*http_, answer.location);
      if (!next || ++redirects_ > kRedirectsMax) {
        return ProbeAnswer{.ok = true,
                           .text = "Probe terminated redirects, Response body: " + answer.body,
                           .warn = true};
      }
      http_ = *std::move(next);
      host_ = http_->host;
      port_ = http_->port;
      redirected_ = true;
      return std::nullopt;
    }
    if (status >= 200 && status < 400) return ProbeAnswer{.ok = true};
    return ProbeAnswer{.text = fmt::format("HTTP probe failed with statuscode: {}", status),
                       .answered = true};
  }

  std::optional<HttpQuestion> http_;
  std::string host_;
  uint16_t port_;
  const absl::Duration timeout_;
  const absl::Time deadline_;
  const Done done_;
  UniqueFd fd_;
  ssl_st* ssl_ = nullptr;
  State state_ = State::kConnecting;
  uint32_t wanted_ = EPOLLOUT;
  std::string request_, received_, problem_;
  size_t sent_ = 0;
  int redirects_ = 0;
  bool redirected_ = false;
};

NetProbeClient::NetProbeClient()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = 0;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
  thread_ = std::thread([this] { Run(); });
}

NetProbeClient::~NetProbeClient() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  ::eventfd_write(wake_.get(), 1);
  thread_.join();
  sessions_.clear();
  if (tls_ != nullptr) ::SSL_CTX_free(tls_);
}

void NetProbeClient::Post(std::function<void()> task) {
  {
    absl::MutexLock lock(&mutex_);
    posted_.push_back(std::move(task));
  }
  ::eventfd_write(wake_.get(), 1);
}

void NetProbeClient::Http(const HttpQuestion& question, absl::Duration timeout, Done done) {
  auto session = std::make_shared<std::unique_ptr<Session>>(
      std::make_unique<Session>(question, question.host, question.port, timeout, std::move(done)));
  Post([this, session] { Begin(std::move(*session)); });
}

void NetProbeClient::Tcp(const std::string& host, uint16_t port, absl::Duration timeout,
                         Done done) {
  auto session = std::make_shared<std::unique_ptr<Session>>(
      std::make_unique<Session>(std::nullopt, host, port, timeout, std::move(done)));
  Post([this, session] { Begin(std::move(*session)); });
}

void NetProbeClient::Grpc(const std::string& host, uint16_t port, const std::string& service,
                          absl::Duration timeout, Done done) {
  // On this thread, as it frees the calls before: that must not happen on one of gRPC's.
  Post([this, host, port, service, timeout, done = std::move(done)] {
    health_.Check(Endpoint(host, port), service, timeout, done);
  });
}

void NetProbeClient::Begin(std::unique_ptr<Session> session) {
  if (session->wants_tls() && tls_ == nullptr) tls_ = ::SSL_CTX_new(::TLS_client_method());
  if (auto failed = session->Connect(tls_)) return session->Answer(*std::move(failed));
  const uint64_t id = next_id_++;
  epoll_event event = {};
  event.events = EPOLLOUT | EPOLLONESHOT;
  event.data.u64 = id;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, session->fd(), &event);
  sessions_[id] = std::move(session);
}

void NetProbeClient::Advance(uint64_t id) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  Session& session = *it->second;
  if (auto answer = session.Step()) {
    session.Answer(*std::move(answer));
    sessions_.erase(it);
    return;
  }
  if (session.redirected()) {
    session.ClearRedirected();
    std::unique_ptr<Session> again = std::move(it->second);
    sessions_.erase(it);
    return Begin(std::move(again));
  }
  epoll_event event = {};
  event.events = session.wanted() | EPOLLONESHOT;
  event.data.u64 = id;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, session.fd(), &event);
}

int NetProbeClient::TimeoutMs() const {
  absl::Time first = absl::InfiniteFuture();
  for (const auto& [id, session] : sessions_) first = std::min(first, session->deadline());
  if (first == absl::InfiniteFuture()) return -1;
  const absl::Duration left = first - absl::Now();
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(left) + 1, 0, 60'000));
}

void NetProbeClient::Run() {
  while (true) {
    epoll_event events[64];
    const int n = ::epoll_wait(epoll_.get(), events, 64, TimeoutMs());
    std::vector<std::function<void()>> tasks;
    {
      absl::MutexLock lock(&mutex_);
      if (stop_) return;
      tasks.swap(posted_);
    }
    eventfd_t ignored;
    ::eventfd_read(wake_.get(), &ignored);
    for (int i = 0; i < n; ++i) {
      if (events[i].data.u64 != 0) Advance(events[i].data.u64);
    }
    for (const auto& task : tasks) task();
    const absl::Time now = absl::Now();
    for (auto it = sessions_.begin(); it != sessions_.end();) {
      if (it->second->deadline() > now) {
        ++it;
        continue;
      }
      it->second->Answer(it->second->Late());
      it = sessions_.erase(it);
    }
  }
}

}  // namespace mesh::agent
