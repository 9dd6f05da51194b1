// SPDX-License-Identifier: Apache-2.0
#include "common/real_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/check.h"

namespace mesh {
namespace {

int64_t MonoNs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

RealLoop::RealLoop()
    : epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      start_wall_(absl::Now()),
      start_mono_ns_(MonoNs()) {
  MESH_CHECK(epoll_ && wake_) << "epoll or eventfd, errno " << errno;
  epoll_event event{.events = EPOLLIN, .data = {.fd = wake_.get()}};
  MESH_CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) == 0);
  thread_ = std::this_thread::get_id();
}

RealLoop::~RealLoop() = default;

// Wall time of the start plus monotonic time since: readable in logs, and it never goes back.
absl::Time RealLoop::Now() const {
  return start_wall_ + absl::Nanoseconds(MonoNs() - start_mono_ns_);
}

void RealLoop::Run() {
  thread_ = std::this_thread::get_id();
  while (!stop_) {
    epoll_event events[64];
    const int count = epoll_wait(epoll_.get(), events, 64, TimeoutMs());
    MESH_CHECK(count >= 0 || errno == EINTR) << "epoll_wait, errno " << errno;
    for (int i = 0; i < count && !stop_; ++i) {
      const int fd = events[i].data.fd;
      if (fd == wake_.get()) {
        uint64_t value;
        [[maybe_unused]] ssize_t n = ::read(fd, &value, sizeof value);
        continue;
      }
      // A callback of this round may have unwatched it.
      if (auto it = watches_.find(fd); it != watches_.end()) {
        Task task = it->second;
        task();
      }
    }
    RunPosted();
    RunTimers();
  }
}

void RealLoop::Stop() {
  stop_ = true;
  Wake();
}

void RealLoop::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t n = ::write(wake_.get(), &one, sizeof one);
}

void RealLoop::Post(Task task) {
  bool first;
  {
    absl::MutexLock lock(&mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(task));
  }
  if (first) Wake();
}

void RealLoop::RunPosted() {
  std::vector<Task> tasks;
  {
    absl::MutexLock lock(&mutex_);
    tasks.swap(posted_);
  }
  for (Task& task : tasks) {
    if (stop_) return;
    task();
  }
}

// A timer that is set meanwhile waits for the next turn: one that is always due may not keep the
// loop from its tasks and descriptors.
void RealLoop::RunTimers() {
  const absl::Time now = Now();
  std::vector<std::pair<absl::Time, TimerId>> due;
  for (const auto& [key, task] : timers_) {
    if (key.first > now) break;
    due.push_back(key);
  }
  for (const auto& key : due) {
    if (stop_) return;
    auto node = timers_.extract(key);
    if (node.empty()) continue;  // cancelled by one before it
    timer_times_.erase(key.second);
    node.mapped()();
  }
}

int RealLoop::TimeoutMs() const {
  if (timers_.empty()) return -1;
  const absl::Duration wait = timers_.begin()->first.first - Now();
  if (wait <= absl::ZeroDuration()) return 0;
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(wait) + 1, 60'000));
}

TimerId RealLoop::RunAt(absl::Time when, Task task) {
  const TimerId id = next_timer_++;
  timers_.emplace(std::make_pair(when, id), std::move(task));
  timer_times_.emplace(id, when);
  return id;
}

void RealLoop::Cancel(TimerId id) {
  auto it = timer_times_.find(id);
  if (it == timer_times_.end()) return;
  timers_.erase({it->second, id});
  timer_times_.erase(it);
}

void RealLoop::WatchReadable(int fd, Task task) {
  const bool known = watches_.contains(fd);
  watches_[fd] = std::move(task);
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  MESH_CHECK(epoll_ctl(epoll_.get(), known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0)
      << "epoll_ctl fd " << fd << ", errno " << errno;
}

void RealLoop::Unwatch(int fd) {
  if (watches_.erase(fd) != 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

bool RealLoop::InLoop() const { return thread_.load() == std::this_thread::get_id(); }

}  // namespace mesh
