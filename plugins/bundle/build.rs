//! Builds the first-party plugins, and the examples that the demo binds.

fn main() {
    spinor_guest_build::build(
        &[
            "spinor-plugin-accounting-files",
            "spinor-plugin-computing-arc",
            "spinor-plugin-computing-htcondor",
            "spinor-plugin-computing-local",
            "spinor-plugin-computing-slurm",
            "spinor-plugin-computing-slurm-rest",
            "spinor-plugin-computing-ssh",
            "spinor-plugin-handling-executable",
            "spinor-plugin-matching-green",
            "spinor-plugin-matching-standard",
            "example-aurora-placement-1-0",
            "example-aurora-placement-1-1",
        ],
        &[
            "plugins/accounting",
            "plugins/computing",
            "plugins/handling",
            "plugins/matching",
            "examples/plugins",
        ],
    );
}
