// SPDX-License-Identifier: Apache-2.0
// Goal: what is used is named and kept, and a broken archive is told from a whole one. Method: the
// fake runtime on a loop of its own thread, and small programs in the place of the importer.
#include "agent/node_images.h"

#include <gmock/gmock.h>

#include <thread>

#include "agent/cri/fake_cri.h"
#include "common/real_loop.h"

namespace mesh::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NodeImagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cri_.latency = absl::ZeroDuration();
    cri_.images = {"docker.io/library/web:v1", "docker.io/library/old:v1"};
    thread_ = std::thread([this] { loop_.Run(); });
  }
  void TearDown() override {
    loop_.Post([this] { loop_.Stop(); });
    thread_.join();
  }
  NodeImages Images(std::vector<std::string> command = {"true"}) {
    return NodeImages(
        &posting_, [this] { return std::make_shared<const PodDirectory>(directory_); },
        std::move(command));
  }

  // The fake belongs to the loop; calls come from another thread.
  class Posting : public FakeCri {
   public:
    Posting(EventLoop* loop, FakeCri* to) : FakeCri(loop), loop_(loop), to_(to) {}
    void VerboseStatus(Done<cri::StatusResponse> done) override {
      loop_->Post([this, done] { to_->VerboseStatus(done); });
    }
    void ListContainers(const std::string& uid, Done<std::vector<cri::Container>> done) override {
      loop_->Post([this, uid, done] { to_->ListContainers(uid, done); });
    }
    void ListImages(Done<std::vector<cri::Image>> done) override {
      loop_->Post([this, done] { to_->ListImages(done); });
    }
    void ImageStatus(const std::string& image, Done<std::optional<cri::Image>> done) override {
      loop_->Post([this, image, done] { to_->ImageStatus(image, done); });
    }
    void RemoveImage(const std::string& id, DoneStatus done) override {
      loop_->Post([this, id, done] { to_->RemoveImage(id, done); });
    }

   private:
    EventLoop* const loop_;
    FakeCri* const to_;
  };

  RealLoop loop_;
  FakeCri cri_{&loop_};
  Posting posting_{&loop_, &cri_};
  PodDirectory directory_;
  std::thread thread_;
};

// Gives `text` once, then the end.
std::function<absl::StatusOr<std::optional<std::string>>()> Once(std::string text) {
  return [text = std::optional(std::move(text))]() mutable
         -> absl::StatusOr<std::optional<std::string>> { return std::exchange(text, {}); };
}

TEST_F(NodeImagesTest, NamesThePodsThatUseAnImage) {
  directory_["shop/web"].containers = {{.name = "app", .image = "docker.io/library/web:v1"}};

  const auto list = Images().List();

  ASSERT_TRUE(list.ok()) << list.status();
  ASSERT_EQ(list->images_size(), 2);
  EXPECT_EQ(list->images(0).tags(0), "docker.io/library/old:v1");
  EXPECT_EQ(list->images(0).used_by_size(), 0);
  EXPECT_THAT(list->images(1).used_by(), ElementsAre("shop/web"));
}

TEST_F(NodeImagesTest, RemovesOnlyWhatNobodyUses) {
  directory_["shop/web"].containers = {{.name = "app", .image = "docker.io/library/web:v1"}};
  const NodeImages images = Images();

  EXPECT_EQ(images.Remove("docker.io/library/web:v1").status().message(),
            "image \"docker.io/library/web:v1\" is in use by shop/web");
  EXPECT_TRUE(absl::IsNotFound(images.Remove("docker.io/library/none:v1").status()));
  EXPECT_TRUE(images.Remove("docker.io/library/old:v1").ok());
  EXPECT_EQ(images.List()->images_size(), 1);
}

TEST_F(NodeImagesTest, GivesTheImporterTheWholeArchive) {
  const NodeImages images =
      Images({"sh", "-c",
              "[ \"$(cat)\" = archive ] && echo 'unpacking docker.io/library/web:v1 (sha)...'"});
  const auto loaded = images.Load(Once("archive"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(loaded->images(), ElementsAre("docker.io/library/web:v1"));
}

TEST_F(NodeImagesTest, SaysWhatTheImporterSays) {
  const auto loaded =
      Images({"sh", "-c", "cat > /dev/null; echo one; echo 'ctr: no such tar' >&2; exit 1"})
          .Load(Once("x"));
  EXPECT_EQ(loaded.status().message(), "the archive cannot be imported: ctr: no such tar");
  EXPECT_THAT(std::string(Images({"/nowhere/ctr"}).Load(Once("x")).status().message()),
              HasSubstr("cannot run /nowhere/ctr"));
}

TEST_F(NodeImagesTest, EndsTheImporterOfAnArchiveThatBreaksOff) {
  const auto loaded = Images({"sh", "-c", "cat > /dev/null; echo 'unpacking a (b)'"}).Load([] {
    return absl::StatusOr<std::optional<std::string>>(absl::CancelledError("gone"));
  });
  EXPECT_TRUE(absl::IsCancelled(loaded.status()));
}

TEST(ImportedImages, AreTheNamesThatAreUnpacked) {
  EXPECT_THAT(ImportedImages("unpacking a/b:v1 (sha256:12)...done\nunpacking c (x)...\nother\n"),
              ElementsAre("a/b:v1", "c"));
  EXPECT_TRUE(ImportedImages("").empty());
}

}  // namespace
}  // namespace mesh::agent
