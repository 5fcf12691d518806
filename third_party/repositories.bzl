"""What this repository takes from others, for its own WORKSPACE and for yours."""

load("//third_party:source_archive.bzl", "source_archive")
load("//third_party/linux_kernel_headers:repository.bzl", "linux_kernel_headers")
load("//third_party/shims:shim.bzl", "shim")

def _declare(rule, name, **kwargs):
    """Declares a repository, unless the workspace has one of that name."""
    if not native.existing_rule(name):
        rule(name = name, **kwargs)

def passthru_repositories():
    """Declares every repository that is needed to build this one.

    A workspace that brings a repository of its own under one of the names (its
    Abseil, say) declares that first, and this leaves it alone.
    """

    # Bazel's own WORKSPACE suffix would download these rule sets. All that is
    # used of them here are Bazel's native rules under another name.
    for name in [
        "bazel_skylib",
        "platforms",
        "remote_coverage_tools",
        "rules_cc",
        "rules_java",
        "rules_proto",
    ]:
        _declare(shim, name = name)

    # Every archive is pinned by its checksum. ./bazelw fetches Debian's, which
    # are repacks of the same trees (but for protobuf's, which is upstream's
    # own).

    _declare(
        source_archive,
        name = "com_google_absl",
        archives = {
            "abseil_20240722.0.orig.tar.gz": [
                "df6d1f5ef540725f3851201176a60486aab332410788465c9877910bb471c34a",
                "abseil-20240722.0",
            ],
            "abseil-cpp-20240722.0.tar.gz": [
                "f50e5ac311a81382da7fa75b97310e4b9006474f9560ac46f54a9967f07d4ae3",
                "abseil-cpp-20240722.0",
                "https://github.com/abseil/abseil-cpp/releases/download/20240722.0/abseil-cpp-20240722.0.tar.gz",
            ],
        },
    )

    _declare(
        source_archive,
        name = "com_google_googletest",
        archives = {
            "googletest_1.16.0.orig.tar.gz": [
                "2f54382b5d13d6cd0be2afc524f1e510d37f8ba78c2d439c5bea64ef37e30d01",
                "googletest-1.16.0",
            ],
            "googletest-1.16.0.tar.gz": [
                "78c676fc63881529bf97bf9d45948d905a66833fbfa5318ea2cd7478cb98f399",
                "googletest-1.16.0",
                "https://github.com/google/googletest/releases/download/v1.16.0/googletest-1.16.0.tar.gz",
            ],
        },
        repo_mapping = {"@abseil-cpp": "@com_google_absl"},
    )

    _declare(
        source_archive,
        name = "com_google_protobuf",
        archives = {
            "protobuf_3.21.12.orig.tar.gz": [
                "930c2c3b5ecc6c9c12615cf5ad93f1cd6e12d0aba862b572e076259970ac3a53",
                "protobuf-3.21.12",
                "https://github.com/protocolbuffers/protobuf/archive/v3.21.12.tar.gz",
            ],
        },
        build_file = Label("//third_party/protobuf:protobuf.BUILD"),
        files = [Label("//third_party/protobuf:protoc.cc")],
    )

    _declare(linux_kernel_headers, name = "linux_kernel_headers")
