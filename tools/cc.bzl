# SPDX-License-Identifier: Apache-2.0
"""passthru_cc_library and passthru_cc_test: this repository's own C++."""

def passthru_cc_library(name, srcs = [], hdrs = [], **kwargs):
    """A cc_library whose headers are included as "passthru/PACKAGE/FILE.h".

    The prefix keeps them apart from a user's own headers: a workspace that
    depends on this one may have a pci/bar.h too.

    Args:
      name: of the library.
      srcs: its sources. Headers among them are its own business, but Bazel gives
        the prefix only to `hdrs`, so they are passed on as such.
      hdrs: its headers.
      **kwargs: the other attributes of cc_library.
    """
    headers = hdrs + [src for src in srcs if src.endswith(".h")]
    native.cc_library(
        name = name,
        srcs = [src for src in srcs if not src.endswith(".h")],
        hdrs = headers,
        include_prefix = "passthru/" + native.package_name() if headers else None,
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
    native.cc_test(
        name = name,
        size = size,
        srcs = srcs or [name + ".cc"],
        deps = deps + [
            "@com_google_absl//absl/status:status_matchers",
            "@com_google_googletest//:gtest",
            "@com_google_googletest//:gtest_main",
        ],
        **kwargs
    )
