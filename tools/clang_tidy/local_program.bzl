"""local_program: a program of this machine, for a tool that cannot be built here."""

def _local_program_impl(ctx):
    path = ctx.which(ctx.attr.program)
    if not path:
        fail("There is no %s on PATH: on Debian, apt-get install %s." %
             (ctx.attr.program, ctx.attr.program))
    version = ctx.execute([path, "--version"]).stdout

    # The version is part of the file, and so of every cached result.
    lines = ["# " + line.strip() for line in version.splitlines() if line.strip()]
    ctx.file("program.sh", "#!/bin/sh\n%s\nexec %s \"$@\"\n" % ("\n".join(lines), path))
    ctx.file("BUILD.bazel", """
sh_binary(
    name = "program",
    srcs = ["program.sh"],
    visibility = ["//visibility:public"],
)
""")

local_program = repository_rule(
    implementation = _local_program_impl,
    attrs = {"program": attr.string(mandatory = True)},
    configure = True,
    doc = "Makes :program run what PATH has under a name, at the version found.",
    environ = ["PATH"],
    local = True,
)
