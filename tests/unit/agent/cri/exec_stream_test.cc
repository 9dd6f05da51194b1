// SPDX-License-Identifier: Apache-2.0
// Goal: commands run over SPDY as the runtime's streaming server speaks it. Method: a server of the
// test that checks every byte the client sends and answers with hand-made frames.
#include "agent/cri/exec_stream.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <functional>
#include <thread>

namespace mesh::agent {
namespace {

uint32_t Get32(const std::string& s, size_t at) {
  return uint32_t{static_cast<uint8_t>(s[at])} << 24 |
         uint32_t{static_cast<uint8_t>(s[at + 1])} << 16 |
         uint32_t{static_cast<uint8_t>(s[at + 2])} << 8 | uint32_t{static_cast<uint8_t>(s[at + 3])};
}

std::string Put32(uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}

// One connection on the loopback interface, served by `script` on a thread.
class Server {
 public:
  explicit Server(std::function<void(Server&)> script) {
    listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 1), 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/exec/token";
    thread_ = std::thread([this, script = std::move(script)] {
      fd_.reset(::accept(listener_.get(), nullptr, nullptr));
      script(*this);
      fd_.reset();
    });
  }
  ~Server() { thread_.join(); }

  const std::string& url() const { return url_; }

  std::string Receive(size_t count) {
    std::string out(count, '\0');
    size_t done = 0;
    while (done < count) {
      const ssize_t n = ::recv(fd_.get(), out.data() + done, count - done, 0);
      if (n <= 0) return out.substr(0, done);
      done += static_cast<size_t>(n);
    }
    return out;
  }
  void Send(const std::string& bytes) {
    EXPECT_EQ(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  std::string Request() {
    std::string out;
    while (!out.ends_with("\r\n\r\n")) out += Receive(1);
    return out;
  }
  // Head and payload of the next frame.
  std::pair<std::string, std::string> Frame() {
    std::string head = Receive(8);
    if (head.size() < 8) return {};
    return {head, Receive(Get32(head, 4) & 0xffffff)};
  }
  // Takes the request and the streams of a command.
  void Accept(int streams) {
    Request();
    Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n");
    for (int i = 0; i < streams; ++i) Frame();
  }
  void Data(uint32_t stream, const std::string& data) {
    Send(Put32(stream) + Put32(static_cast<uint32_t>(data.size())) + data);
  }

 private:
  UniqueFd listener_, fd_;
  std::string url_;
  std::thread thread_;
};

TEST(ExecStream, AsksForSpdyAndOpensItsStreamsInOrder) {
  std::string request;
  std::vector<std::string> types;
  {
    Server server([&](Server& s) {
      request = s.Request();
      s.Send("HTTP/1.1 101 Switching Protocols\r\n\r\n");
      for (int i = 0; i < 4; ++i) {
        const auto [head, payload] = s.Frame();
        EXPECT_EQ(Get32(head, 0), 0x80030001u) << "SYN_STREAM of version 3";
        EXPECT_EQ(Get32(payload, 0), static_cast<uint32_t>(2 * i + 1));
        // After ids and priority: zlib head once, then a stored block and an empty one.
        const size_t block = i == 0 ? 12 : 10;
        if (i == 0) {
          EXPECT_EQ(payload.substr(10, 2), "\x78\x01");
        }
        const size_t value = block + 5 + 4 + 4 + 10;
        types.push_back(payload.substr(value + 4, Get32(payload, value)));
        EXPECT_TRUE(payload.ends_with(std::string("\0\0\0\xff\xff", 5)));
      }
    });
    EXPECT_TRUE(ExecStream::Open(server.url(), {.tty = false, .stdin = true}).ok());
  }
  EXPECT_TRUE(request.starts_with("POST /exec/token HTTP/1.1\r\n"));
  EXPECT_NE(request.find("Upgrade: SPDY/3.1\r\n"), std::string::npos);
  EXPECT_NE(request.find("X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"), std::string::npos);
  EXPECT_EQ(types, (std::vector<std::string>{"error", "stdin", "stdout", "stderr"}));
}

TEST(ExecStream, KeepsOutputAndErrorsApartAndEndsWithTheExitCode) {
  Server server([](Server& s) {
    s.Accept(3);
    s.Data(5, "out");
    s.Data(7, "err");
    s.Data(1, R"({"status":"Failure","reason":"NonZeroExitCode",)");
    s.Data(1, R"("details":{"causes":[{"reason":"ExitCode","message":"7"}]}})");
    s.Frame();
  });
  auto stream = ExecStream::Open(server.url(), {});
  ASSERT_TRUE(stream.ok()) << stream.status();

  auto first = (*stream)->Read();
  auto second = (*stream)->Read();
  auto third = (*stream)->Read();

  EXPECT_EQ(first->kind, ExecEvent::Kind::kStdout);
  EXPECT_EQ(first->data, "out");
  EXPECT_EQ(second->kind, ExecEvent::Kind::kStderr);
  EXPECT_EQ(second->data, "err");
  ASSERT_TRUE(third.ok()) << third.status();
  EXPECT_EQ(third->kind, ExecEvent::Kind::kExit);
  EXPECT_EQ(third->exit_code, 7);
  (*stream)->Abort();
}

TEST(ExecStream, ClosesStandardInputWithTheLastFrame) {
  std::string heads, data;
  {
    Server server([&](Server& s) {
      s.Accept(4);
      for (int i = 0; i < 2; ++i) {
        const auto [head, payload] = s.Frame();
        heads += head;
        data += payload;
      }
    });
    auto stream = ExecStream::Open(server.url(), {.stdin = true});
    ASSERT_TRUE(stream.ok());
    EXPECT_TRUE((*stream)->WriteStdin("abc").ok());
    EXPECT_TRUE((*stream)->CloseStdin().ok());
  }
  EXPECT_EQ(data, "abc");
  EXPECT_EQ(heads, Put32(3) + Put32(3) + Put32(3) + Put32(0x01000000));
}

TEST(ExecStream, SendsTheSizeOfATerminalOnItsOwnStream) {
  std::string payload;
  {
    Server server([&](Server& s) {
      s.Accept(3);
      payload = s.Frame().second;
    });
    auto stream = ExecStream::Open(server.url(), {.tty = true});
    ASSERT_TRUE(stream.ok());
    EXPECT_TRUE((*stream)->Resize(24, 80).ok());
  }
  EXPECT_EQ(payload, "{\"Width\":80,\"Height\":24}\n");
}

TEST(ExecStream, AnswersPings) {
  std::string reply;
  {
    Server server([&](Server& s) {
      s.Accept(3);
      s.Send(Put32(0x80030006) + Put32(4) + Put32(2));
      reply = s.Frame().second;
      s.Data(1, R"({"status":"Success"})");
    });
    auto stream = ExecStream::Open(server.url(), {});
    ASSERT_TRUE(stream.ok());
    auto event = (*stream)->Read();
    ASSERT_TRUE(event.ok()) << event.status();
    EXPECT_EQ(event->exit_code, 0);
  }
  EXPECT_EQ(reply, Put32(2));
}

TEST(ExecStream, SaysWhenTheServerRefuses) {
  Server server([](Server& s) {
    s.Request();
    s.Send("HTTP/1.1 404 Not Found\r\n\r\n");
  });
  const auto stream = ExecStream::Open(server.url(), {});
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kInternal);
  EXPECT_NE(std::string(stream.status().message()).find("404 Not Found"), std::string::npos);
}

TEST(ExecStream, SaysWhenTheConnectionBreaksBeforeTheEnd) {
  Server server([](Server& s) {
    s.Accept(3);
    s.Data(5, "half");
  });
  auto stream = ExecStream::Open(server.url(), {});
  ASSERT_TRUE(stream.ok());
  EXPECT_EQ((*stream)->Read()->data, "half");
  EXPECT_FALSE((*stream)->Read().ok());
}

TEST(ParseExecVerdict, ReadsEveryEnd) {
  EXPECT_EQ(**ParseExecVerdict(R"({"metadata":{},"status":"Success"})"), 0);
  EXPECT_EQ(ParseExecVerdict(R"({"status":"Fail)"), std::nullopt);
  EXPECT_EQ(ParseExecVerdict(""), std::nullopt);
  const auto failed =
      ParseExecVerdict(R"({"status":"Failure","message":"no such file","reason":"InternalError"})");
  ASSERT_TRUE(failed.has_value());
  EXPECT_EQ(std::string(failed->status().message()), "no such file");
  const auto strange = ParseExecVerdict(
      R"({"status":"Failure","message":"m","details":{"causes":[{"reason":"ExitCode","message":"x"}]}})");
  EXPECT_FALSE(strange->ok());
}

}  // namespace
}  // namespace mesh::agent
