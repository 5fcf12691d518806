"""shim: a repository out of a folder of this one."""

def _shim_impl(ctx):
    folder = ctx.path(ctx.attr._anchor).dirname.get_child(ctx.name)
    for file in folder.readdir():
        ctx.symlink(file, file.basename)

shim = repository_rule(
    implementation = _shim_impl,
    attrs = {"_anchor": attr.label(default = "//third_party/shims:BUILD.bazel")},
    doc = """The folder here that is called like the repository.

Unlike local_repository, whose path is one in the workspace that is built, it
works for a workspace that has this one as a dependency.""",
)
