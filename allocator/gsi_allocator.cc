// SPDX-License-Identifier: Apache-2.0

#include "passthru/allocator/gsi_allocator.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/statusor.h"
#include "passthru/allocator/gsi.h"
#include "passthru/allocator/id_allocator.h"

namespace passthru::allocator {

absl::StatusOr<std::unique_ptr<GsiAllocator>> GsiAllocator::Create(
    Gsi first, uint32_t count) {
  absl::StatusOr<std::unique_ptr<IdAllocator>> ids =
      IdAllocator::Create(first.value(), count, "GSI");
  if (!ids.ok()) return ids.status();
  return absl::WrapUnique(new GsiAllocator(*std::move(ids)));
}

absl::StatusOr<GsiAllocation> GsiAllocator::Allocate() {
  absl::StatusOr<IdAllocation> id = ids_->Allocate();
  if (!id.ok()) return id.status();
  return GsiAllocation(*std::move(id));
}

}  // namespace passthru::allocator
