//! The arithmetic of rollouts; what they do to a cluster is tested with all loops together.

use super::*;

#[test]
fn shares_round_up_for_the_surge_and_down_for_the_unavailable() {
    let percent = |text: &str| IntOrString::String(text.into());
    assert_eq!(share(&percent("25%"), 10, true), 3);
    assert_eq!(share(&percent("25%"), 10, false), 2);
    assert_eq!(share(&percent("100%"), 7, true), 7);
    assert_eq!(share(&percent("1%"), 3, false), 0);
    assert_eq!(share(&IntOrString::Int(4), 10, true), 4);
}
