// SPDX-License-Identifier: Apache-2.0
// The store of a cluster with one control-plane machine: a SQLite file in `data_dir`.
//
// Durable: WAL with synchronous=FULL, so that a commit returns after the log is on disk.
// Restart: revisions go on; leases begin anew with their whole ttl, as nobody could keep them
// alive. One process per directory, held by a lock on <data_dir>/lock.
#pragma once

#include <memory>
#include <string>

#include "controlplane/store/store.h"

namespace mesh::controlplane {

class SqliteStore : public Store {
 public:
  struct Options {
    // Created when missing, mode 0700.
    std::string data_dir;
    // History that a watch can resume from; older revisions go by themselves.
    Revision keep_revisions = 10'000;
  };
  // FAILED_PRECONDITION: another process has the directory, or a newer version wrote it. DATA_LOSS:
  // the file is damaged. Both name the path and the way out.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(Options options);
  ~SqliteStore() override;

  std::vector<absl::StatusOr<CommitResult>> CommitAll(
      const std::vector<Transaction>& transactions) override;
  absl::StatusOr<RangeResult> Range(std::string_view prefix) const override;
  absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(
      std::string_view prefix, Revision after,
      std::function<void(const StoreBatch&)> on_batch) override;
  absl::Status Compact(Revision revision) override;
  absl::StatusOr<LeaseId> Grant(absl::Duration ttl) override;
  absl::Status KeepAlive(LeaseId lease) override;
  absl::Status Revoke(LeaseId lease) override;
  Revision CurrentRevision() const override;

 private:
  class Impl;
  explicit SqliteStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mesh::controlplane
