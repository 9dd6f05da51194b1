// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <limits>
#include <ostream>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/flags.h"
#include "cli/commands/targets.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  std::vector<std::string> args;
  std::string container;
  std::string selector;
  bool all_containers = false;
  bool follow = false;
  bool previous = false;
  bool timestamps = false;
  bool prefix = false;
  int64_t tail = -1;
  bool tail_given = false;
  std::string since;
  std::string since_time;
  int max_requests = 5;
  int64_t limit_bytes = 0;
};

// One container's log.
struct Source {
  v1::LogsRequest request;
  std::string prefix;
};

// Writes whole lines of several logs to one stream. Thread-safe.
class LineSink {
 public:
  explicit LineSink(std::ostream& out) : out_(out) {}

  // False when nobody reads any more.
  bool Write(std::string_view chunk, const std::string& prefix) {
    absl::MutexLock lock(&mutex_);
    if (prefix.empty()) {
      out_.write(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    } else {
      while (!chunk.empty()) {
        const size_t end = std::min(chunk.find('\n'), chunk.size() - 1) + 1;
        out_ << prefix;
        out_.write(chunk.data(), static_cast<std::streamsize>(end));
        chunk.remove_prefix(end);
      }
    }
    out_.flush();
    return out_.good();
  }

 private:
  absl::Mutex mutex_;
  std::ostream& out_;
};

absl::StatusOr<v1::LogsRequest> RequestOf(const Flags& flags, const Context& context) {
  v1::LogsRequest request;
  request.set_follow(flags.follow);
  request.set_previous(flags.previous);
  request.set_timestamps(flags.timestamps);
  if (flags.tail >= 0) request.set_tail_lines(flags.tail);
  // Many pods: the end of each is enough, as in kubectl.
  if (!flags.tail_given && !flags.selector.empty()) request.set_tail_lines(10);
  if (!flags.since.empty() && !flags.since_time.empty()) {
    return absl::InvalidArgumentError(
        "at most one of `sinceTime` or `sinceSeconds` may be specified");
  }
  absl::Time since = absl::InfinitePast();
  if (!flags.since.empty()) {
    ASSIGN_OR_RETURN(absl::Duration duration, ParseDurationFlag(flags.since, "--since"));
    if (duration < absl::ZeroDuration()) {
      return UsageError("--since must be greater than 0");
    }
    since = context.now() - duration;
  }
  if (!flags.since_time.empty()) {
    std::string error;
    if (!absl::ParseTime(absl::RFC3339_full, flags.since_time, &since, &error)) {
      return UsageError(
          fmt::format("invalid argument \"{}\" for \"--since-time\" flag: expected "
                      "RFC3339, such as 2026-01-02T15:04:05Z",
                      flags.since_time));
    }
  }
  if (since != absl::InfinitePast()) {
    request.mutable_since()->set_seconds(absl::ToUnixSeconds(since));
    request.mutable_since()->set_nanos(static_cast<int32_t>(
        absl::ToInt64Nanoseconds(since - absl::FromUnixSeconds(absl::ToUnixSeconds(since)))));
  }
  return request;
}

// The containers whose logs are asked for.
absl::StatusOr<std::vector<Source>> FindSources(const Flags& flags, Context& context,
                                                ControlClient& client) {
  ASSIGN_OR_RETURN(const v1::LogsRequest base, RequestOf(flags, context));
  std::vector<v1::Pod> pods;
  if (!flags.selector.empty()) {
    ASSIGN_OR_RETURN(v1::ListResponse list,
                     ListObjects(v1::KIND_POD, context.ns(), flags.selector, client));
    for (v1::Resource& item : *list.mutable_items()) pods.push_back(std::move(*item.mutable_pod()));
  } else {
    const std::string word = flags.args.size() > 1 &&
                                     flags.args[0].find('/') == std::string::npos &&
                                     flags.args[0] == "pod"
                                 ? flags.args[1]
                                 : flags.args[0];
    ASSIGN_OR_RETURN(Target target, ParsePodTarget(word, context.ns()));
    std::string note;
    ASSIGN_OR_RETURN(v1::Pod pod, FindPod(target, client, &note));
    if (!note.empty()) context.err << note << "\n";
    pods.push_back(std::move(pod));
  }
  std::vector<Source> sources;
  for (const v1::Pod& pod : pods) {
    std::vector<std::string> containers;
    if (flags.all_containers) {
      for (const auto& init : pod.spec().init_containers()) containers.push_back(init.name());
      for (const auto& container : pod.spec().containers()) containers.push_back(container.name());
    } else {
      std::string note;
      ASSIGN_OR_RETURN(std::string container, ChooseContainer(pod, flags.container, &note));
      if (!note.empty()) context.err << note << "\n";
      containers.push_back(std::move(container));
    }
    for (const std::string& container : containers) {
      Source source{.request = base};
      source.request.set_namespace_(pod.metadata().namespace_());
      source.request.set_pod(pod.metadata().name());
      source.request.set_container(container);
      if (flags.prefix)
        source.prefix = fmt::format("[pod/{}/{}] ", pod.metadata().name(), container);
      sources.push_back(std::move(source));
    }
  }
  return sources;
}

absl::StatusOr<int> Run(Flags flags, Context& context) {
  if (flags.args.empty() && flags.selector.empty()) {
    return UsageError(
        "'logs (POD | TYPE/NAME) [-c CONTAINER]' names the pod, -l several; "
        "POD or TYPE/NAME is a required argument for the logs command");
  }
  if (!flags.args.empty() && !flags.selector.empty()) {
    return UsageError("only a selector (-l) or a POD name is allowed");
  }
  if (flags.args.size() == 2 && flags.container.empty()) flags.container = flags.args[1];
  if (flags.args.size() > 2) return UsageError("only one pod at a time; use -l for several");
  if (flags.all_containers && !flags.container.empty()) {
    return UsageError("--all-containers=true should not be specified with container name");
  }
  if (flags.tail < -1) {
    return UsageError("--tail must be greater than or equal to -1");
  }
  if (flags.limit_bytes < 0) return UsageError("--limit-bytes must be greater than 0");
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(std::vector<Source> sources, FindSources(flags, context, *client));
  if (sources.empty()) {
    context.err << fmt::format("No resources found in {} namespace.\n", context.ns());
    return 0;
  }
  LineSink sink(context.out);
  auto read = [&](const Source& source) {
    int64_t left = flags.limit_bytes > 0 ? flags.limit_bytes : std::numeric_limits<int64_t>::max();
    return client->Logs(source.request, [&](std::string_view chunk) {
      chunk = chunk.substr(0, static_cast<size_t>(left));
      left -= static_cast<int64_t>(chunk.size());
      return sink.Write(chunk, source.prefix) && left > 0;
    });
  };
  if (!flags.follow || sources.size() == 1) {
    for (const Source& source : sources) RETURN_IF_ERROR(read(source));
    return 0;
  }
  if (sources.size() > static_cast<size_t>(std::max(flags.max_requests, 1))) {
    return absl::InvalidArgumentError(fmt::format(
        "you are attempting to follow {} log streams, but maximum allowed concurrency is "
        "{}, use --max-log-requests to increase the limit",
        sources.size(), flags.max_requests));
  }
  std::vector<absl::Status> results(sources.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < sources.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = read(sources[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) RETURN_IF_ERROR(result);
  return 0;
}

}  // namespace

Command LogsCommand() {
  return {
      .name = "logs",
      .summary = "Print the logs of a container in a pod",
      .group = kGroupTroubleshoot,
      .usage = "(POD | TYPE/NAME | -l SELECTOR) [-c CONTAINER] [flags]",
      .examples =
          "  meshctl logs web-1\n"
          "  meshctl logs -f deployment/web -c nginx\n"
          "  meshctl logs -l app=web --prefix --tail=20\n",
      .define = [](CLI::App& app, Context& context) -> Action {
        auto flags = std::make_shared<Flags>();
        app.add_option("pod", flags->args);
        app.add_option("-c,--container", flags->container, "The container");
        app.add_option("-l,--selector", flags->selector, "Label selector of pods");
        app.add_flag("--all-containers", flags->all_containers, "All containers of the pod");
        app.add_flag("-f,--follow", flags->follow, "Print what is written from now on, too");
        app.add_flag("-p,--previous", flags->previous,
                     "The container as it was before its last restart");
        app.add_flag("--timestamps", flags->timestamps, "A time before each line");
        app.add_flag("--prefix", flags->prefix, "Pod and container before each line");
        CLI::Option* tail =
            app.add_option("--tail", flags->tail, "Lines from the end; -1, the default, is all");
        app.add_option("--since", flags->since, "Only lines younger than this, such as 5m");
        app.add_option("--since-time", flags->since_time, "Only lines after this time (RFC3339)");
        app.add_option("--limit-bytes", flags->limit_bytes,
                       "At most so many bytes of each log; all by default");
        app.add_option("--max-log-requests", flags->max_requests,
                       "How many logs may be followed at once; 5 by default");
        return [flags, tail, &context] {
          flags->tail_given = tail->count() > 0;
          return Run(*flags, context);
        };
      }};
}

}  // namespace mesh::cli
