"""clang_toolchain: this machine's Clang, beside the default compiler.

The usual way, CC=clang, makes Clang the only compiler: whatever runs during the
build would be compiled once more by it, and each change of compiler would set
the toolchain up again.
"""

load("@bazel_tools//tools/cpp:lib_cc_configure.bzl", "get_cpu_value")
load("@bazel_tools//tools/cpp:unix_cc_configure.bzl", "configure_unix_toolchain")

def _clang_toolchain_impl(ctx):
    program = ctx.os.environ.get("CLANG", "clang")
    clang = ctx.which(program)
    if not clang:
        fail("There is no %s on PATH: on Debian, apt-get install clang." % program)
    configure_unix_toolchain(ctx, get_cpu_value(ctx), {"gcc": str(clang)})

clang_toolchain = repository_rule(
    implementation = _clang_toolchain_impl,
    configure = True,
    doc = "Its :toolchain is for --crosstool_top. The program is $CLANG, or clang.",
    environ = [
        "CLANG",
        "PATH",
    ],
)
