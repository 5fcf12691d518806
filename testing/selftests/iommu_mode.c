// SPDX-License-Identifier: Apache-2.0
//
// Linked to each selftest: chooses the mode of cases that do not choose one,
// which is iommufd otherwise.
#include <stdlib.h>

extern const char* default_iommu_mode;

__attribute__((constructor)) static void ChooseMode(void) {
  const char* const mode = getenv("PASSTHRU_IOMMU_MODE");
  if (mode != NULL) default_iommu_mode = mode;
}
