// SPDX-License-Identifier: Apache-2.0
// Goal: any bytes are taken without harm, and what is understood is understood right.
#include "agent/network/dns_message.h"

#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/network/dns_client.h"

namespace mesh::agent::dns {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ParseQuery, LowersTheNameAndKeepsTheRest) {
  const auto parsed = ParseQuery(MakeQuery("WeB.Shop", {.id = 77, .type = kAaaa}));

  ASSERT_TRUE(parsed.query);
  EXPECT_EQ(parsed.query->id, 77);
  EXPECT_THAT(parsed.query->name, ElementsAre("web", "shop"));
  EXPECT_EQ(parsed.query->type, kAaaa);
  EXPECT_TRUE(parsed.query->recursion_desired);
  EXPECT_FALSE(parsed.query->edns);
  EXPECT_EQ(parsed.query->udp_bytes, 512u);
}

TEST(ParseQuery, TakesTheRoot) {
  const auto parsed = ParseQuery(MakeQuery(""));

  ASSERT_TRUE(parsed.query);
  EXPECT_THAT(parsed.query->name, IsEmpty());
}

TEST(ParseQuery, KeepsTheClientsUdpSizeWithinLimits) {
  EXPECT_EQ(ParseQuery(MakeQuery("a", {.edns_bytes = 4096})).query->udp_bytes, 1232u);
  EXPECT_EQ(ParseQuery(MakeQuery("a", {.edns_bytes = 900})).query->udp_bytes, 900u);
  EXPECT_EQ(ParseQuery(MakeQuery("a", {.edns_bytes = 0})).query->udp_bytes, 512u);
}

TEST(ParseQuery, DoesNotAnswerResponsesAndFragments) {
  std::string response = MakeQuery("a");
  response[2] = static_cast<char>(response[2] | 0x80);

  EXPECT_FALSE(ParseQuery(response).query || ParseQuery(response).refusal);
  EXPECT_FALSE(ParseQuery("").refusal);
  EXPECT_FALSE(ParseQuery("12345678901").refusal);
}

TEST(ParseQuery, RefusesWhatItDoesNotUnderstand) {
  std::string update = MakeQuery("a");
  update[2] = 5 << 3;
  std::string two_questions = MakeQuery("a");
  two_questions[5] = 2;
  std::string pointer_in_question = MakeQuery("a");
  pointer_in_question[12] = static_cast<char>(0xc0);
  std::string cut = MakeQuery("web.shop");
  cut.resize(cut.size() - 3);

  EXPECT_EQ(ParseQuery(update).refusal, kNotImp);
  EXPECT_EQ(ParseQuery(two_questions).refusal, kFormErr);
  EXPECT_EQ(ParseQuery(pointer_in_question).refusal, kFormErr);
  EXPECT_EQ(ParseQuery(cut).refusal, kFormErr);
}

TEST(ParseQuery, RefusesANameLongerThan255Bytes) {
  std::string name;
  for (int i = 0; i < 5; ++i) name += std::string(60, 'a') + ".";

  EXPECT_EQ(ParseQuery(MakeQuery(name)).refusal, kFormErr);
}

TEST(ParseQuery, FollowsNoPointerOfARecordRoundInCircles) {
  std::string looping = MakeQuery("a");
  looping[11] = 1;  // one additional record,
  looping += std::string("\xc0\x0c\x00\x29\x02\x00\x00\x00\x00\x00\x00\x00", 12);
  std::string self = MakeQuery("a");
  self[11] = 1;
  self += std::string("\xc0", 1) + static_cast<char>(self.size());  // pointing at itself

  EXPECT_TRUE(ParseQuery(looping).query);
  EXPECT_EQ(ParseQuery(self).refusal, kFormErr);
}

TEST(ParseQuery, SurvivesRandomBytesAndMutatedQueries) {
  Random random(20'240'601);
  const std::string seed = MakeQuery("web.shop.svc.cluster.local", {.edns_bytes = 1232});
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes = seed;
    if (round % 2 == 0) {
      bytes.resize(random.Below(80));
      for (char& c : bytes) c = static_cast<char>(random.Next());
    } else {
      for (uint64_t n = 1 + random.Below(4); n > 0; --n)
        bytes[random.Below(bytes.size())] = static_cast<char>(random.Next());
      bytes.resize(random.Below(bytes.size() + 1));
    }
    const auto parsed = ParseQuery(bytes);
    if (parsed.query) {
      ASSERT_LE(parsed.query->question_end, bytes.size());
      Answer answer;
      answer.answers.push_back({"x.y", kA, 5, EncodeV4(1)});
      ASSERT_TRUE(Decode(BuildResponse(bytes, *parsed.query, answer, 512)).response);
    } else if (parsed.refusal) {
      ASSERT_EQ(BuildRefusal(bytes, *parsed.refusal).size(), 12u);
    }
    // Never reads outside either argument, whatever they are.
    Answers(bytes, seed);
    Answers(seed, bytes);
  }
}

TEST(BuildResponse, EchoesTheQuestionAsItWasWritten) {
  const std::string packet = MakeQuery("WeB.ShOp");
  Answer answer;
  answer.authoritative = true;
  answer.answers.push_back({"web.shop", kA, 5, EncodeV4(0x0a600001)});

  const Decoded decoded = Decode(BuildResponse(packet, *ParseQuery(packet).query, answer, 512));

  EXPECT_TRUE(decoded.ok);
  EXPECT_TRUE(decoded.response && decoded.authoritative && decoded.recursion_available);
  EXPECT_EQ(decoded.id, 0x1234);
  EXPECT_EQ(decoded.question, "WeB.ShOp. A");
  EXPECT_THAT(decoded.answers, ElementsAre("WeB.ShOp. 5 A 10.96.0.1"));
  EXPECT_THAT(decoded.additional, IsEmpty());
}

TEST(BuildResponse, CutsWhatDoesNotFitAndSaysSo) {
  const std::string packet = MakeQuery("web", {.edns_bytes = 512});
  Answer answer;
  for (uint32_t i = 0; i < 100; ++i) answer.answers.push_back({"web", kA, 5, EncodeV4(i)});

  const std::string response = BuildResponse(packet, *ParseQuery(packet).query, answer, 512);

  EXPECT_LE(response.size(), 512u);
  const Decoded decoded = Decode(response);
  EXPECT_TRUE(decoded.ok);
  EXPECT_TRUE(decoded.truncated);
  EXPECT_GT(decoded.answers.size(), 20u);
  EXPECT_THAT(decoded.additional, ElementsAre("OPT 1232 0"));
}

TEST(BuildResponse, SplitsAnExtendedRcodeOverHeaderAndOpt) {
  const std::string packet = MakeQuery("web", {.edns_bytes = 512, .edns_version = 1});
  Answer answer;
  answer.rcode = kBadVersion;

  const Decoded decoded = Decode(BuildResponse(packet, *ParseQuery(packet).query, answer, 512));

  EXPECT_EQ(decoded.rcode, 0);
  EXPECT_THAT(decoded.additional, ElementsAre("OPT 1232 1"));
}

TEST(Answers, WantsIdAndQuestion) {
  const std::string query = MakeQuery("web.shop");
  std::string response = MakeQuery("WEB.shop");
  response[2] = static_cast<char>(0x80);
  EXPECT_TRUE(Answers(response, query));

  std::string other_id = response;
  other_id[0] = 'x';
  std::string other_name = MakeQuery("web.ship");
  other_name[2] = static_cast<char>(0x80);
  EXPECT_FALSE(Answers(other_id, query));
  EXPECT_FALSE(Answers(other_name, query));
  EXPECT_FALSE(Answers(query, query)) << "a question is no answer";
}

// A response to "web" with these bytes as its answer section.
std::string ResponseWith(uint16_t answers, std::string_view section) {
  std::string out = MakeQuery("web");
  out[2] = static_cast<char>(0x81);
  out[7] = static_cast<char>(answers);
  return out + std::string(section);
}

using std::string_literals::operator""s;

TEST(ReadAnswers, FollowsPointersAndWritesNamesInFull) {
  // web CNAME www.<web>; www.<web> A 1.2.3.4; web TXT is not asked for.
  const auto records = ReadAnswers(ResponseWith(3,
                                                "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\6\3www\xc0\x0c"
                                                "\xc0\x0c\0\x10\0\1\0\0\0\x3c\0\2\1x"
                                                "\3www\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\1\2\3\4"s));

  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].name, "web");
  EXPECT_EQ(records[0].data, EncodeName("www.web"));
  EXPECT_EQ(records[0].ttl, 60u);
  EXPECT_EQ(records[1].name, "www.web");
  EXPECT_EQ(records[1].data, EncodeV4(0x01020304));
}

TEST(ReadAnswers, EndsAtNamesThatAreNone) {
  const char* bad[] = {"a pointer to itself", "one forward", "one past the end", "a cut label"};
  const std::string names[] = {"\xc0\x15"s, "\xc0\x40"s, "\xff\xff"s, "\x3f"s};
  for (int i = 0; i < 4; ++i)
    EXPECT_THAT(ReadAnswers(ResponseWith(1, names[i] + "\0\1\0\1\0\0\0\x1e\0\4\1\2\3\4"s)),
                IsEmpty())
        << bad[i];
}

TEST(ReadAnswers, SurvivesAnyBytes) {
  Random random(20261120);
  const std::string whole = ResponseWith(2,
                                         "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\6\3www\xc0\x0c"
                                         "\3www\xc0\x0c\0\1\0\1\0\0\0\x1e\0\4\1\2\3\4"s);
  ASSERT_EQ(ReadAnswers(whole).size(), 2u);
  for (size_t end = 0; end < whole.size(); ++end)
    EXPECT_LT(ReadAnswers(whole.substr(0, end)).size(), 2u);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = whole;
    for (uint64_t n = random.Below(4) + 1; n > 0; --n)
      bytes[random.Below(bytes.size())] = static_cast<char>(random.Next());
    EXPECT_LE(ReadAnswers(bytes).size(), bytes.size());
  }
}

TEST(BuildQuery, AsksTheSameAboutAnotherName) {
  const auto query = ParseQuery(MakeQuery("web", {.id = 9, .type = kAaaa, .edns_bytes = 1232}));

  const auto again = ParseQuery(BuildQuery(*query.query, "example.com"));

  ASSERT_TRUE(again.query);
  EXPECT_THAT(again.query->name, ElementsAre("example", "com"));
  EXPECT_EQ(again.query->type, kAaaa);
  EXPECT_TRUE(again.query->recursion_desired);
  EXPECT_EQ(BuildQuery(*query.query, std::string(64, 'a')), "");
}

TEST(EncodeName, RefusesLabelsThatDoNotFit) {
  EXPECT_EQ(EncodeName("a.bc"), std::string("\1a\2bc\0", 6));
  EXPECT_EQ(EncodeName(std::string(64, 'a')), "");
  EXPECT_EQ(EncodeName("a..b"), "");
}

}  // namespace
}  // namespace mesh::agent::dns
