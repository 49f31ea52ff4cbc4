//! What dnf prints, and what it prints when it is broken.

use proptest::prelude::*;

use super::*;

const UPGRADES: &str = "\
bash|x86_64|5.2.26-4.el9|baseos

kernel-core|x86_64|5.14.0-503.el9|baseos

openssl-libs|i686|1:3.2.2-6.el9|baseos

openssl-libs|x86_64|1:3.2.2-6.el9|baseos

fonts|noarch|2-1|appstream

removed|noarch|2-1|appstream
";

const INSTALLED: &str = "\
bash|x86_64|5.1.8-9.el9|@System
kernel-core|x86_64|5.14.0-427.el9|@System
openssl-libs|i686|1:3.0.7-27.el9|@System
openssl-libs|x86_64|1:3.0.7-28.el9|@System
fonts|x86_64|1-1|anaconda
";

const ADVISORIES_4: &str = "\
RHSA-2024:9404 Moderate/Sec.  kernel-core-5.14.0-470.el9.x86_64
RHSA-2024:9333 Low/Sec.       openssl-libs-1:3.2.2-6.el9.x86_64
";

const ADVISORIES_5: &str = "\
Name           Type     Severity                     Package              Issued
RHSA-2024:9404 security Moderate kernel-core-5.14.0-470.el9.x86_64 2024-11-12 09:05:41
RHSA-2024:9333 security Low      openssl-libs-1:3.2.2-6.el9.x86_64 2024-11-12 08:56:28
";

fn pending(advisories: &str) -> Vec<PendingPackage> {
    judged(
        parse_packages(UPGRADES).unwrap(),
        parse_packages(INSTALLED).unwrap(),
        &parse_advisories(advisories),
    )
}

#[test]
fn a_package_is_told_with_both_versions_and_its_repository() {
    let pending = pending(ADVISORIES_4);
    let shown: Vec<_> = pending
        .iter()
        .map(|p| {
            (p.name.as_str(), p.architecture.as_str(), p.current.as_str(), p.available.as_str())
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("bash", "x86_64", "5.1.8-9.el9", "5.2.26-4.el9"),
            ("kernel-core", "x86_64", "5.14.0-427.el9", "5.14.0-503.el9"),
            ("openssl-libs", "i686", "1:3.0.7-27.el9", "1:3.2.2-6.el9"),
            ("openssl-libs", "x86_64", "1:3.0.7-28.el9", "1:3.2.2-6.el9"),
            ("fonts", "noarch", "1-1", "2-1"),
        ]
    );
    assert_eq!(pending[4].repository, "appstream");
}

#[test]
fn an_advisory_makes_a_package_security_whichever_dnf_prints_it() {
    for advisories in [ADVISORIES_4, ADVISORIES_5] {
        let security: Vec<_> = pending(advisories)
            .into_iter()
            .filter(|package| package.security)
            .map(|package| (package.name, package.architecture))
            .collect();
        // The kernel too: its advisory is about a version between the two.
        let expected = [("kernel-core", "x86_64"), ("openssl-libs", "x86_64")];
        assert_eq!(security, expected.map(|(name, arch)| (name.to_owned(), arch.to_owned())));
    }
}

#[test]
fn a_line_that_is_not_understood_is_named_and_never_skipped() {
    for line in ["Error: x", "a|b|c", "a|b|c|d|e", "|x86_64|1-1|r", "a b|x86_64|1-1|r"] {
        let error = parse_packages(&format!("{INSTALLED}{line}\n")).unwrap_err().to_string();
        assert!(error.starts_with("dnf repoquery wrote a line"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = parse_packages(&text);
        parse_advisories(&text);
    }

    #[test]
    fn no_likely_text_makes_it_panic(
        upgrades in "([a-z]{0,2}\\|[a-z]{0,2}\\|[0-9.-]{0,4}\\|[a-z]{0,2}\\|?\n){0,5}",
        advisories in "([a-z.:-]{0,9}[ \n]){0,9}",
    ) {
        let upgrades = parse_packages(&upgrades).unwrap_or_default();
        judged(upgrades, Vec::new(), &parse_advisories(&advisories));
    }
}
