//! The committed RPC types are what `proto/` generates today.
//!
//! After a change of the contract: `ARGOSY_REGENERATE=1 cargo test -p argosy-wire --test generated`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeMap, fs, path::Path};

const PROTOS: &[&str] = &["agentgateway/v1/agentgateway.proto", "agentadmin/v1/agentadmin.proto"];

#[test]
fn the_committed_types_are_those_of_the_contract() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = here.join("src/gen");
    let fresh = tempfile::tempdir().unwrap();
    generate(&here.join("../../proto"), fresh.path());
    if std::env::var_os("ARGOSY_REGENERATE").is_some() {
        let _ = fs::remove_dir_all(&committed);
        fs::create_dir_all(&committed).unwrap();
        for (name, bytes) in files(fresh.path()) {
            fs::write(committed.join(name), bytes).unwrap();
        }
    }
    let (fresh, committed) = (files(fresh.path()), files(&committed));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&fresh), names(&committed));
    for (name, bytes) in fresh {
        assert!(committed[&name] == bytes, "{name} is not what proto/ generates");
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn generate(proto: &Path, out: &Path) {
    let mut compiler = protox::Compiler::new([proto]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(PROTOS.iter().map(|name| proto.join(name))).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let descriptors = scratch.path().join("descriptors.bin");
    fs::write(&descriptors, compiler.encode_file_descriptor_set()).unwrap();
    connectrpc_build::Config::new()
        .descriptor_set(&descriptors)
        .files(PROTOS)
        .out_dir(out)
        .file_per_package(true)
        .include_file("mod.rs")
        .emit_rerun_directives(false)
        .gate_client_feature(true)
        .compile()
        .unwrap();
    compiler.include_source_info(false);
    fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set()).unwrap();
    for (name, bytes) in files(out) {
        if name.ends_with(".rs") {
            let text = String::from_utf8(bytes).unwrap();
            fs::write(out.join(name), without_register_collision(&text)).unwrap();
        }
    }
}

/// The generator gives each service an extension method `register(self: Arc<Self>, …)` that mounts
/// it, and that hides a service's own RPC of the name `Register`. The extension method becomes
/// `register_routes`; nothing on the wire changes.
fn without_register_collision(text: &str) -> String {
    let services = text.matches("_SERVICE_NAME: &str").count();
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut renamed) = (text, 0);
    while let Some(at) = rest.find("register(") {
        let (head, tail) = rest.split_at(at);
        let arguments = tail["register(".len()..].trim_start();
        let declared =
            head.ends_with("fn ") && arguments.starts_with("self: ::std::sync::Arc<Self>");
        let called = head.ends_with("Ext>::") && arguments.starts_with("self, router");
        out.push_str(head);
        if declared || called {
            out.push_str("register_routes(");
            renamed += 1;
        } else {
            out.push_str("register(");
        }
        rest = &tail["register(".len()..];
    }
    out.push_str(rest);
    assert_eq!(renamed, services * 3, "the generator changed: look at this function again");
    out
}
