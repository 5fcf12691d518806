// SPDX-License-Identifier: Apache-2.0
//
// The options of AddressSanitizer that a fuzzer has by default. ASAN_OPTIONS
// overrides them one by one.

// AddressSanitizer calls this before main().
extern "C" const char* __asan_default_options();

extern "C" const char* __asan_default_options() {
  // An input makes thousands of allocations, and to find and keep the stack of
  // each takes a tenth of the time. The report of a bad access says where it
  // was, and tools/fuzz runs the input again with the stacks of allocations.
  //
  // Freed memory stays out of use for longer than an input lasts, and the
  // 256 MiB that are usual would leave the processor's caches behind.
  return "malloc_context_size=1:quarantine_size_mb=16";
}
