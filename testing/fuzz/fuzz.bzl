# SPDX-License-Identifier: Apache-2.0
"""fuzz_target: one fuzz entry point, as a libFuzzer binary and as a test."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

def fuzz_target(name, srcs, corpus, deps, data = [], size = "small"):
    """Makes NAME, the fuzzer, and NAME_corpus_test, which replays its corpus.

    The fuzzer wants --config=fuzz. The test runs the same entry point with every
    compiler and sanitizer: over the kept inputs, and over a few mutations of
    each, always the same ones.

    Args:
      name: of the fuzzer.
      srcs: define LLVMFuzzerTestOneInput(), and nothing else that is not local.
      corpus: the kept inputs.
      deps: of srcs.
      data: what srcs read, such as fixtures; paths are as in a test.
      size: of the test.
    """
    entry = name + "_entry"
    cc_library(
        name = entry,
        testonly = True,
        srcs = srcs,
        deps = deps,
        alwayslink = True,
    )
    cc_test(
        name = name + "_corpus_test",
        size = size,
        args = ["$(rootpath %s)" % file for file in corpus],
        data = corpus + data,
        deps = [
            ":" + entry,
            "//testing/fuzz:replay_main",
        ],
    )
    cc_binary(
        name = name,
        testonly = True,
        data = corpus + data,
        linkopts = select(
            {"//testing/fuzz:libfuzzer": ["-fsanitize=fuzzer"]},
            no_match_error = "A fuzzer is built with --config=fuzz.",
        ),
        # Not in //..., where it would not link.
        tags = ["manual"],
        deps = [":" + entry],
    )
