// SPDX-License-Identifier: Apache-2.0
#include "agent/cri/fake_cri.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

namespace mesh::agent {

void FakeCri::Answer(const std::string& method, std::function<void(absl::Status)> answer) {
  absl::Status status = absl::OkStatus();
  if (!up_) {
    status = absl::UnavailableError("connection refused");
  } else if (auto it = failures.find(method); it != failures.end()) {
    status = it->second;
    failures.erase(it);
  }
  loop_->RunAfter(latency, [answer = std::move(answer), status] { answer(status); });
}

void FakeCri::GoDown() {
  up_ = false;
  auto subscribers = std::exchange(subscribers_, {});
  for (auto& [id, subscriber] : subscribers) {
    loop_->Post([ended = subscriber.ended] { ended(absl::UnavailableError("connection reset")); });
  }
}

void FakeCri::Emit(const RuntimeEvent& event) {
  for (auto& [key, subscriber] : subscribers_) {
    loop_->Post([on_event = subscriber.on_event, event] { on_event(event); });
  }
}

void FakeCri::End(Container& container, int exit_code, const std::string& reason) {
  const std::string id = container.status.id();
  const auto show = [this, id, exit_code, reason, at = NowNs()] {
    const auto found = containers.find(id);
    if (found == containers.end()) return;
    found->second.status.set_state(cri::CONTAINER_EXITED);
    found->second.status.set_exit_code(exit_code);
    found->second.status.set_finished_at(at);
    found->second.status.set_reason(reason);
  };
  if (exit_lag == absl::ZeroDuration()) {
    show();
  } else {
    loop_->RunAfter(exit_lag, show);
  }
  Emit({.kind = RuntimeEvent::Kind::kExit,
        .container_id = id,
        .exit_code = exit_code,
        .exited_at = loop_->Now()});
}

void FakeCri::Kill(const std::string& container_id, int exit_code, bool oom) {
  Container& container = containers.at(container_id);
  if (oom) {
    Emit({.kind = RuntimeEvent::Kind::kOom,
          .container_id = container_id,
          .exited_at = absl::InfinitePast()});
  }
  End(container, exit_code, oom ? "OOMKilled" : exit_code == 0 ? "Completed" : "Error");
}

void FakeCri::LoseTask(const std::string& container_id) {
  Container& container = containers.at(container_id);
  End(container, 128, "StartError");
  container.status.set_message("failed to get task pid: context canceled");
  lost_tasks.insert(container_id);
}

absl::Status FakeCri::CheckRemovable(const std::string& container_id) const {
  if (!lost_tasks.contains(container_id)) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "failed to delete containerd container \"{}\": cannot delete running task", container_id));
}

void FakeCri::KillSandbox(const std::string& sandbox_id) {
  sandboxes.at(sandbox_id).info.set_state(cri::SANDBOX_NOTREADY);
  for (auto& [id, container] : containers) {
    if (container.sandbox_id == sandbox_id && container.status.state() == cri::CONTAINER_RUNNING) {
      End(container, 255, "Error");
    }
  }
  Emit({.kind = RuntimeEvent::Kind::kExit,
        .container_id = sandbox_id,
        .exit_code = 255,
        .exited_at = loop_->Now()});
}

FakeCri::Container* FakeCri::Find(const std::string& pod, const std::string& name) {
  Container* best = nullptr;
  for (auto& [id, container] : containers) {
    if (container.status.metadata().name() != name) continue;
    if (container.status.labels().at(kPodNameLabel) != pod) continue;
    if (best == nullptr ||
        container.status.metadata().attempt() > best->status.metadata().attempt()) {
      best = &container;
    }
  }
  return best;
}

int FakeCri::CountCalls(const std::string& prefix) const {
  int count = 0;
  for (const std::string& call : calls) count += call.starts_with(prefix) ? 1 : 0;
  return count;
}

int FakeCri::RunningContainers() const {
  int count = 0;
  for (const auto& [id, c] : containers) count += c.status.state() == cri::CONTAINER_RUNNING;
  return count;
}

void FakeCri::Version(Done<cri::VersionResponse> done) {
  Answer("Version", [done](absl::Status status) {
    if (!status.ok()) return done(status);
    cri::VersionResponse response;
    response.set_runtime_name("fake");
    response.set_runtime_version("1.0.0");
    done(response);
  });
}

void FakeCri::Status(Done<cri::StatusResponse> done) {
  Answer("Status", [done](absl::Status status) {
    if (!status.ok()) return done(status);
    done(cri::StatusResponse());
  });
}

void FakeCri::ListSandboxes(const std::string& pod_uid, Done<std::vector<cri::PodSandbox>> done) {
  Answer("ListSandboxes", [this, pod_uid, done](absl::Status status) {
    if (!status.ok()) return done(status);
    std::vector<cri::PodSandbox> out;
    for (const auto& [id, sandbox] : sandboxes) {
      if (pod_uid.empty() || sandbox.info.metadata().uid() == pod_uid) out.push_back(sandbox.info);
    }
    done(out);
  });
}

void FakeCri::ListContainers(const std::string& pod_uid, Done<std::vector<cri::Container>> done) {
  Answer("ListContainers", [this, pod_uid, done](absl::Status status) {
    if (!status.ok()) return done(status);
    std::vector<cri::Container> out;
    for (const auto& [id, container] : containers) {
      if (!pod_uid.empty() && container.status.labels().at(kPodUidLabel) != pod_uid) continue;
      cri::Container item;
      item.set_id(id);
      item.set_pod_sandbox_id(container.sandbox_id);
      *item.mutable_metadata() = container.status.metadata();
      item.set_state(container.status.state());
      item.set_created_at(container.status.created_at());
      item.set_image_ref(container.status.image_ref());
      *item.mutable_labels() = container.status.labels();
      *item.mutable_annotations() = container.status.annotations();
      out.push_back(item);
    }
    done(out);
  });
}

void FakeCri::SandboxStatus(const std::string& id, Done<cri::PodSandboxStatus> done) {
  Answer("SandboxStatus", [this, id, done](absl::Status status) {
    if (!status.ok()) return done(status);
    auto it = sandboxes.find(id);
    if (it == sandboxes.end()) return done(absl::NotFoundError("sandbox " + id + " not found"));
    cri::PodSandboxStatus out;
    out.set_id(id);
    out.set_state(it->second.info.state());
    out.set_created_at(it->second.info.created_at());
    out.mutable_network()->set_ip(it->second.ip);
    done(out);
  });
}

void FakeCri::ContainerStatus(const std::string& id, Done<cri::ContainerStatus> done) {
  Answer("ContainerStatus", [this, id, done](absl::Status status) {
    if (!status.ok()) return done(status);
    auto it = containers.find(id);
    if (it == containers.end()) return done(absl::NotFoundError("container " + id + " not found"));
    done(it->second.status);
  });
}

void FakeCri::RunSandbox(const cri::PodSandboxConfig& config, Done<std::string> done) {
  calls.push_back("RunSandbox " + config.metadata().name());
  Answer("RunSandbox", [this, config, done](absl::Status status) {
    if (!status.ok()) return done(status);
    for (const auto& [id, other] : sandboxes) {
      if (other.config.metadata().uid() == config.metadata().uid() &&
          other.config.metadata().attempt() == config.metadata().attempt()) {
        return done(absl::UnknownError("failed to reserve sandbox name: it is reserved for " + id));
      }
    }
    const std::string id = fmt::format("sandbox-{}", next_id_++);
    Sandbox& sandbox = sandboxes[id];
    sandbox.config = config;
    sandbox.ip = fmt::format("10.244.0.{}", next_ip_++);
    sandbox.info.set_id(id);
    *sandbox.info.mutable_metadata() = config.metadata();
    *sandbox.info.mutable_labels() = config.labels();
    sandbox.info.set_state(cri::SANDBOX_READY);
    sandbox.info.set_created_at(NowNs());
    done(id);
  });
}

void FakeCri::StopSandbox(const std::string& id, DoneStatus done) {
  auto it = sandboxes.find(id);
  calls.push_back("StopSandbox " +
                  (it == sandboxes.end() ? id : it->second.info.metadata().name()));
  Answer("StopSandbox", [this, id, done](absl::Status status) {
    if (!status.ok()) return done(status);
    if (sandboxes.contains(id)) KillSandbox(id);
    done(absl::OkStatus());
  });
}

void FakeCri::RemoveSandbox(const std::string& id, DoneStatus done) {
  auto it = sandboxes.find(id);
  calls.push_back("RemoveSandbox " +
                  (it == sandboxes.end() ? id : it->second.info.metadata().name()));
  Answer("RemoveSandbox", [this, id, done](absl::Status status) {
    if (!status.ok()) return done(status);
    for (const auto& [container, held] : containers) {
      if (held.sandbox_id != id) continue;
      if (absl::Status removable = CheckRemovable(container); !removable.ok()) {
        return done(removable);
      }
    }
    std::erase_if(containers, [&](const auto& item) { return item.second.sandbox_id == id; });
    sandboxes.erase(id);
    done(absl::OkStatus());
  });
}

void FakeCri::CreateContainer(const cri::CreateContainerRequest& request, Done<std::string> done) {
  calls.push_back(
      fmt::format("CreateContainer {}/{} {}", request.sandbox_config().metadata().name(),
                  request.config().metadata().name(), request.config().metadata().attempt()));
  Answer("CreateContainer", [this, request, done](absl::Status status) {
    if (!status.ok()) return done(status);
    auto sandbox = sandboxes.find(request.pod_sandbox_id());
    if (sandbox == sandboxes.end()) return done(absl::NotFoundError("sandbox not found"));
    for (const auto& [id, other] : containers) {
      if (other.sandbox_id == request.pod_sandbox_id() &&
          other.config.metadata().name() == request.config().metadata().name() &&
          other.config.metadata().attempt() == request.config().metadata().attempt()) {
        return done(absl::UnknownError("failed to reserve container name: reserved for " + id));
      }
    }
    const std::string id = fmt::format("container-{}", next_id_++);
    Container& container = containers[id];
    container.sandbox_id = request.pod_sandbox_id();
    container.config = request.config();
    container.status.set_id(id);
    *container.status.mutable_metadata() = request.config().metadata();
    *container.status.mutable_labels() = request.config().labels();
    *container.status.mutable_annotations() = request.config().annotations();
    container.status.set_state(cri::CONTAINER_CREATED);
    container.status.set_created_at(NowNs());
    container.status.mutable_image()->set_image(request.config().image().image());
    container.status.set_image_ref("sha256:" + request.config().image().image());
    done(id);
  });
}

void FakeCri::StartContainer(const std::string& id, DoneStatus done) {
  calls.push_back("StartContainer " + id);
  Answer("StartContainer", [this, id, done](absl::Status status) {
    auto it = containers.find(id);
    if (it == containers.end()) return done(absl::NotFoundError("container not found"));
    Container& container = it->second;
    if (absl::IsFailedPrecondition(status)) return done(status);  // it is being started
    if (!status.ok()) {
      End(container, 128, "StartError");
      container.status.set_message(std::string(status.message()));
      return done(status);
    }
    container.status.set_state(cri::CONTAINER_RUNNING);
    container.status.set_started_at(NowNs());
    if (auto code = exits_at_once.find(container.status.metadata().name());
        code != exits_at_once.end()) {
      End(container, code->second, code->second == 0 ? "Completed" : "Error");
    }
    done(absl::OkStatus());
  });
}

void FakeCri::StopContainer(const std::string& id, absl::Duration grace, DoneStatus done) {
  auto it = containers.find(id);
  const std::string name = it == containers.end() ? id : it->second.status.metadata().name();
  calls.push_back(fmt::format("StopContainer {} {}", name, absl::ToInt64Seconds(grace)));
  const bool stubborn = ignores_sigterm.contains(name);
  auto finish = [this, id, stubborn, done](absl::Status status) {
    if (!status.ok()) return done(status);
    auto found = containers.find(id);
    if (found != containers.end() && found->second.status.state() == cri::CONTAINER_RUNNING) {
      End(found->second, stubborn ? 137 : 143, "Error");
    }
    done(absl::OkStatus());
  };
  if (!stubborn) return Answer("StopContainer", finish);
  loop_->RunAfter(grace, [this, finish] { Answer("StopContainer", finish); });
}

void FakeCri::RemoveContainer(const std::string& id, DoneStatus done) {
  calls.push_back("RemoveContainer " + id);
  Answer("RemoveContainer", [this, id, done](absl::Status status) {
    if (status.ok()) status = CheckRemovable(id);
    if (status.ok()) containers.erase(id);
    done(status);
  });
}

void FakeCri::EndTask(const std::string& id, DoneStatus done) {
  calls.push_back("EndTask " + id);
  Answer("EndTask", [this, id, done](absl::Status status) {
    if (status.ok()) lost_tasks.erase(id);
    done(status);
  });
}

void FakeCri::ImageStatus(const std::string& image, Done<std::optional<cri::Image>> done) {
  Answer("ImageStatus", [this, image, done](absl::Status status) {
    if (!status.ok()) return done(status);
    const std::string name = image.starts_with("sha256:") ? image.substr(7) : image;
    if (!images.contains(name)) return done(std::optional<cri::Image>());
    cri::Image out;
    out.set_id("sha256:" + name);
    if (const auto user = image_users.find(name); user != image_users.end())
      out.mutable_uid()->set_value(user->second);
    done(std::optional<cri::Image>(out));
  });
}

CriClient::Cancel FakeCri::PullImage(const std::string& image, const cri::PodSandboxConfig&,
                                     const cri::AuthConfig& auth, Done<std::string> done) {
  calls.push_back("PullImage " + image + (auth.username().empty() ? "" : " as " + auth.username()));
  Answer("PullImage", [this, image, auth, done](absl::Status status) {
    if (!status.ok()) return done(status);
    if (const auto lock = locked_images.find(image);
        lock != locked_images.end() && lock->second != auth.username() + ":" + auth.password()) {
      return done(absl::UnknownError(
          fmt::format("failed to pull and unpack image \"{}\": 401 Unauthorized", image)));
    }
    if (!registry.contains(image)) {
      return done(absl::NotFoundError(
          fmt::format("failed to pull and unpack image \"{}\": not found", image)));
    }
    images.insert(image);
    done("sha256:" + image);
  });
  return [] {};
}

void FakeCri::ExecSync(const std::string& id, const std::vector<std::string>& command,
                       absl::Duration timeout, Done<cri::ExecSyncResponse> done) {
  auto it = containers.find(id);
  const std::string name = it == containers.end() ? id : it->second.status.metadata().name();
  calls.push_back(fmt::format("ExecSync {} {}", name, fmt::join(command, " ")));
  const std::string text = fmt::format("{}", fmt::join(command, " "));
  std::string out;
  const int code = on_exec == nullptr ? 0 : on_exec(name, text, &out);
  auto answer = [this, id, out, code, timeout, done](absl::Status status) {
    if (!status.ok()) return done(status);
    auto found = containers.find(id);
    if (found == containers.end() || found->second.status.state() != cri::CONTAINER_RUNNING)
      return done(absl::NotFoundError("container is not running"));
    if (code < 0) {
      return done(absl::DeadlineExceededError(
          fmt::format("timeout {}s exceeded", absl::ToInt64Seconds(timeout))));
    }
    cri::ExecSyncResponse response;
    response.set_exit_code(code);
    response.set_stdout(out);
    done(response);
  };
  if (code >= 0) return Answer("ExecSync", answer);
  loop_->RunAfter(timeout, [this, answer] { Answer("ExecSync", answer); });
}

void FakeCri::Exec(const cri::ExecRequest&, Done<std::string> done) {
  Answer("Exec", [done](absl::Status status) {
    if (!status.ok()) return done(status);
    done(std::string("http://127.0.0.1:1/exec/x"));
  });
}

void FakeCri::Attach(const cri::AttachRequest&, Done<std::string> done) {
  Answer("Attach", [done](absl::Status status) {
    if (!status.ok()) return done(status);
    done(std::string("http://127.0.0.1:1/attach/x"));
  });
}

void FakeCri::ReopenLog(const std::string& container_id, DoneStatus done) {
  calls.push_back("ReopenLog " + container_id);
  Answer("ReopenLog", [done](absl::Status status) { done(std::move(status)); });
}

void FakeCri::ListImages(Done<std::vector<cri::Image>> done) {
  Answer("ListImages", [this, done](absl::Status status) {
    if (!status.ok()) return done(status);
    std::vector<cri::Image> out;
    for (const std::string& name : images) {
      cri::Image& image = out.emplace_back();
      image.set_id("sha256:" + name);
      image.add_repo_tags(name);
      image.set_size(1000);
    }
    done(std::move(out));
  });
}

void FakeCri::RemoveImage(const std::string& id, DoneStatus done) {
  calls.push_back("RemoveImage " + id);
  Answer("RemoveImage", [this, id, done](absl::Status status) {
    if (status.ok()) images.erase(id.substr(id.find(':') + 1));
    done(std::move(status));
  });
}

void FakeCri::ImageFolder(Done<std::string> done) {
  Answer("ImageFolder", [this, done](absl::Status status) {
    if (!status.ok()) return done(status);
    done(image_folder);
  });
}

CriClient::Cancel FakeCri::Subscribe(std::function<void(const RuntimeEvent&)> on_event,
                                     DoneStatus ended) {
  if (!up_) {
    loop_->RunAfter(latency, [ended] { ended(absl::UnavailableError("connection refused")); });
    return [] {};
  }
  const int key = next_subscriber_++;
  subscribers_[key] = Subscriber{std::move(on_event), std::move(ended)};
  return [this, key] { subscribers_.erase(key); };
}

}  // namespace mesh::agent
