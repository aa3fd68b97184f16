//! Builds the guests that misbehave.

fn main() {
    spinor_guest_build::build(
        &[
            "test-guest-rogue",
            "test-guest-grabber",
            "test-guest-plain",
            "test-guest-next",
            "test-guest-courier",
        ],
        &["tests/guests", "tests/wit-next"],
    );
}
