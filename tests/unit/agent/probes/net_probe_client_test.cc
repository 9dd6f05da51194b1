// SPDX-License-Identifier: Apache-2.0
// Goal: questions reach a server and its answers are judged. Method: small servers on loopback.
#include "agent/probes/net_probe_client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <future>
#include <map>

#include "agent/probes/health_v1.grpc.pb.h"

namespace mesh::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr absl::Duration kTimeout = absl::Seconds(5);

// Answers each connection with the text for its path; one without a text is never answered.
class HttpServer {
 public:
  HttpServer() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
    ::listen(fd_.get(), 16);
    socklen_t length = sizeof(address);
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~HttpServer() {
    ::shutdown(fd_.get(), SHUT_RDWR);
    thread_.join();
  }
  uint16_t port() const { return port_; }
  std::map<std::string, std::string> answers;  // set before the first question

 private:
  void Serve() {
    std::vector<UniqueFd> silent;
    while (true) {
      UniqueFd client(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      std::string request;
      char buffer[1024];
      while (request.find("\r\n\r\n") == std::string::npos) {
        const ssize_t n = ::recv(client.get(), buffer, sizeof(buffer), 0);
        if (n <= 0) break;
        request.append(buffer, static_cast<size_t>(n));
      }
      const size_t end = request.find(' ', 4);
      if (end == std::string::npos) continue;
      const auto answer = answers.find(request.substr(4, end - 4));
      if (answer == answers.end()) {
        silent.push_back(std::move(client));
        continue;
      }
      ::send(client.get(), answer->second.data(), answer->second.size(), MSG_NOSIGNAL);
    }
  }

  UniqueFd fd_;
  uint16_t port_ = 0;
  std::thread thread_;
};

ProbeAnswer Get(NetProbeClient& client, uint16_t port, const std::string& path,
                absl::Duration timeout = kTimeout, bool tls = false) {
  std::promise<ProbeAnswer> answer;
  client.Http({.host = "127.0.0.1", .port = port, .tls = tls, .path = path}, timeout,
              [&](ProbeAnswer got) { answer.set_value(std::move(got)); });
  return answer.get_future().get();
}

ProbeAnswer Dial(NetProbeClient& client, const std::string& host, uint16_t port) {
  std::promise<ProbeAnswer> answer;
  client.Tcp(host, port, kTimeout, [&](ProbeAnswer got) { answer.set_value(std::move(got)); });
  return answer.get_future().get();
}

ProbeAnswer Check(NetProbeClient& client, uint16_t port, const std::string& service) {
  std::promise<ProbeAnswer> answer;
  client.Grpc("127.0.0.1", port, service, kTimeout,
              [&](ProbeAnswer got) { answer.set_value(std::move(got)); });
  return answer.get_future().get();
}

// A port of loopback where nobody listens.
uint16_t FreePort() {
  HttpServer server;
  return server.port();
}

TEST(NetProbeClient, JudgesAnswersByTheirStatus) {
  HttpServer server;
  server.answers["/ok"] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  server.answers["/sick"] = "HTTP/1.1 503 Sick\r\n\r\n";
  server.answers["/ssh"] = "SSH-2.0-x\r\n";
  NetProbeClient client;

  EXPECT_TRUE(Get(client, server.port(), "/ok").ok);
  const ProbeAnswer sick = Get(client, server.port(), "/sick");
  EXPECT_FALSE(sick.ok);
  EXPECT_EQ(sick.text, "HTTP probe failed with statuscode: 503");
  EXPECT_THAT(Get(client, server.port(), "/ssh").text, HasSubstr("malformed HTTP response"));
}

TEST(NetProbeClient, FollowsRedirectsWithinTheHostAndTellsOfOthers) {
  HttpServer server;
  server.answers["/moved"] = "HTTP/1.1 302 Found\r\nLocation: /sick\r\n\r\n";
  server.answers["/sick"] = "HTTP/1.1 503 Sick\r\n\r\n";
  server.answers["/away"] = "HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\n\r\n";
  server.answers["/round"] = "HTTP/1.1 301 Moved\r\nLocation: /round\r\n\r\n";
  NetProbeClient client;

  EXPECT_FALSE(Get(client, server.port(), "/moved").ok);
  for (const char* path : {"/away", "/round"}) {
    const ProbeAnswer answer = Get(client, server.port(), path);
    EXPECT_TRUE(answer.ok) << path;
    EXPECT_TRUE(answer.warn) << path;
  }
}

TEST(NetProbeClient, WaitsNoLongerThanItsTimeout) {
  HttpServer server;
  NetProbeClient client;

  const ProbeAnswer answer = Get(client, server.port(), "/silent", absl::Milliseconds(100));

  EXPECT_FALSE(answer.ok);
  EXPECT_THAT(answer.text, HasSubstr("/silent\": no answer within 100ms"));
}

TEST(NetProbeClient, SaysWhoRefuses) {
  const uint16_t port = FreePort();
  NetProbeClient client;

  const ProbeAnswer refused = Dial(client, "127.0.0.1", port);
  EXPECT_FALSE(refused.ok);
  EXPECT_THAT(refused.text, HasSubstr("connect: Connection refused"));
  EXPECT_THAT(Get(client, port, "/").text, StartsWith("Get \"http://127.0.0.1:"));
  EXPECT_FALSE(Dial(client, "no-address", 80).ok);
}

TEST(NetProbeClient, AConnectionIsEnoughForTcp) {
  HttpServer server;
  NetProbeClient client;

  EXPECT_TRUE(Dial(client, "127.0.0.1", server.port()).ok);
}

TEST(NetProbeClient, SaysThatAServerSpeaksNoTls) {
  HttpServer server;
  NetProbeClient client;

  EXPECT_FALSE(Get(client, server.port(), "/", absl::Milliseconds(300), /*tls=*/true).ok);
}

// Answers one connection with TLS and a certificate that it made itself.
class TlsServer {
 public:
  TlsServer() : context_(::SSL_CTX_new(::TLS_server_method())) {
    EVP_PKEY* key = ::EVP_EC_gen("P-256");
    X509* certificate = ::X509_new();
    ::X509_gmtime_adj(::X509_getm_notBefore(certificate), 0);
    ::X509_gmtime_adj(::X509_getm_notAfter(certificate), 3600);
    ::X509_set_pubkey(certificate, key);
    ::X509_sign(certificate, key, ::EVP_sha256());
    ::SSL_CTX_use_certificate(context_, certificate);
    ::SSL_CTX_use_PrivateKey(context_, key);
    ::X509_free(certificate);
    ::EVP_PKEY_free(key);
    listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
    ::listen(listener_.get(), 16);
    socklen_t length = sizeof(address);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~TlsServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    ::SSL_CTX_free(context_);
  }
  uint16_t port() const { return port_; }

 private:
  void Serve() {
    UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) return;
    SSL* ssl = ::SSL_new(context_);
    ::SSL_set_fd(ssl, client.get());
    char request[4096];
    if (::SSL_accept(ssl) == 1 && ::SSL_read(ssl, request, sizeof(request)) > 0) {
      constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
      ::SSL_write(ssl, kAnswer.data(), static_cast<int>(kAnswer.size()));
      ::SSL_shutdown(ssl);
    }
    ::SSL_free(ssl);
  }

  ssl_ctx_st* context_;
  UniqueFd listener_;
  uint16_t port_ = 0;
  std::thread thread_;
};

TEST(NetProbeClient, AsksServersWhoseCertificateNobodyKnows) {
  TlsServer server;
  NetProbeClient client;

  const ProbeAnswer answer = Get(client, server.port(), "/", kTimeout, /*tls=*/true);

  EXPECT_TRUE(answer.ok) << answer.text;
}

class Health : public grpc::health::v1::Health::Service {
 public:
  grpc::Status Check(grpc::ServerContext*, const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse* response) override {
    if (request->service() == "unknown") return {grpc::StatusCode::NOT_FOUND, "unknown service"};
    response->set_status(request->service() == "sick"
                             ? grpc::health::v1::HealthCheckResponse::NOT_SERVING
                             : grpc::health::v1::HealthCheckResponse::SERVING);
    return grpc::Status::OK;
  }
};

TEST(NetProbeClient, AsksGrpcServersForTheirHealth) {
  Health health;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&health);
  const auto server = builder.BuildAndStart();
  NetProbeClient client;

  EXPECT_TRUE(Check(client, static_cast<uint16_t>(port), "").ok);
  EXPECT_EQ(Check(client, static_cast<uint16_t>(port), "sick").text,
            "service unhealthy (responded with \"NOT_SERVING\")");
  EXPECT_THAT(Check(client, static_cast<uint16_t>(port), "unknown").text,
              HasSubstr("unknown service"));
  EXPECT_THAT(Check(client, FreePort(), "").text, HasSubstr("failed to connect service"));
  server->Shutdown();
}

TEST(NetProbeClient, EndsWithQuestionsUnderWay) {
  HttpServer server;
  {
    NetProbeClient client;
    for (int i = 0; i < 10; ++i)
      client.Http({.host = "127.0.0.1", .port = server.port(), .path = "/silent"}, kTimeout,
                  [](const ProbeAnswer&) {});
  }
}

}  // namespace
}  // namespace mesh::agent
