# SPDX-License-Identifier: Apache-2.0
"""passthru_cc_library and passthru_cc_test: this repository's own C++."""

def _sources(name, srcs):
    """Returns the sources to compile, which is one that includes all of `srcs`.

    Most of the time to compile a source goes to the headers it includes, and the
    sources of a folder include much the same. With --config=each they are compiled
    one by one, which shows whether each includes what it needs.

    Args:
      name: of the library or test.
      srcs: its sources.

    Returns:
      The sources, and the dependencies that come with them.
    """
    merged = [src for src in srcs if src.endswith(".cc") and not src.startswith((":", "/"))]
    if len(merged) < 2:
        return srcs, []
    native.genrule(
        name = name + "_unity",
        testonly = False,
        outs = [name + "_unity.cc"],
        cmd = "printf '#include \"%s\"\\n' " + " ".join([
            native.package_name() + "/" + src
            for src in merged
        ]) + " > $@",
        tags = ["manual"],
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = name + "_unity_parts",
        testonly = False,
        textual_hdrs = merged,
        tags = ["manual"],
        visibility = ["//visibility:private"],
    )
    others = [src for src in srcs if src not in merged]
    return (
        others + select({
            "//tools:each": merged,
            "//conditions:default": [":%s_unity.cc" % name],
        }),
        select({
            "//tools:each": [],
            "//conditions:default": [":%s_unity_parts" % name],
        }),
    )

def passthru_cc_library(name, srcs = [], hdrs = [], deps = [], **kwargs):
    """A cc_library whose headers are included as "passthru/PACKAGE/FILE.h".

    The prefix keeps them apart from a user's own headers: a workspace that
    depends on this one may have a pci/bar.h too.

    Args:
      name: of the library.
      srcs: its sources.
      hdrs: its headers, those too that only its own sources need: Bazel gives the
        prefix to nothing else.
      deps: what sources and headers include besides.
      **kwargs: the other attributes of cc_library.
    """
    sources, parts = _sources(name, srcs)
    native.cc_library(
        name = name,
        srcs = sources,
        hdrs = hdrs,
        include_prefix = "passthru/" + native.package_name() if hdrs else None,
        deps = deps + parts,
        **kwargs
    )

def passthru_cc_test(name, srcs = [], deps = [], size = "small", **kwargs):
    """A cc_test with GoogleTest, its main function and Abseil's status matchers.

    Args:
      name: of the test.
      srcs: its sources, by default NAME.cc.
      deps: what the sources include besides.
      size: of the test.
      **kwargs: the other attributes of cc_test.
    """
    sources, parts = _sources(name, srcs or [name + ".cc"])
    native.cc_test(
        name = name,
        size = size,
        srcs = sources,
        deps = deps + parts + [
            "@com_google_absl//absl/status:status_matchers",
            "@com_google_googletest//:gtest",
            "@com_google_googletest//:gtest_main",
        ],
        **kwargs
    )
