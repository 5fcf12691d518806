# SPDX-License-Identifier: Apache-2.0
"""Defines fuzz_target, which makes a libFuzzer binary and a test."""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

def fuzz_target(name, srcs, corpus, deps, data = [], size = "small", tags = []):
    """Makes NAME, the fuzzer, and NAME_corpus_test, which replays its corpus.

    The fuzzer needs --config=fuzz. The test runs the same entry point with every
    compiler and sanitizer. It uses the kept inputs, and a few mutations of each
    that are the same in every run.

    Args:
      name: the name of the fuzzer.
      srcs: sources that define LLVMFuzzerTestOneInput() as their only symbol
        that is not local.
      corpus: the kept inputs.
      deps: the dependencies of srcs.
      data: files that srcs read, such as fixtures, with paths as in a test.
      size: the size of the test.
      tags: of the test.
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
        tags = tags,
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
        # Keeps the fuzzer out of //..., because it would not link there.
        tags = ["manual"],
        deps = [
            ":" + entry,
            "//testing/fuzz:sanitizer_options",
        ],
    )
