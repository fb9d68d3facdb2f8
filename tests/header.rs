//! The C header: it is what the sources say, and it declares exactly what the library exports.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cbindgen::{Builder, Config, ItemType, Language};

const REMEDY: &str = "run `make header` (or `ASYNCIO_BLESS=1 cargo test --test header`)";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header_path() -> PathBuf {
    root().join("include/asyncio.h")
}

/// Only `src/capi` is read: what the rest of the crate makes public is Rust's, not C's.
fn render(config: Config) -> String {
    let mut text = Vec::new();
    Builder::new()
        .with_config(config)
        .with_src(root().join("src/capi/mod.rs"))
        .generate()
        .expect("cbindgen reads src/capi")
        .write(&mut text);
    String::from_utf8(text).expect("the header is UTF-8")
}

fn generate() -> String {
    let config = Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let types = constant_types(config.clone());
    render(config).lines().map(|line| with_type(&plain(line), &types) + "\n").collect()
}

/// Every struct has its typedef before its first use, so C needs no `struct` there; and links
/// between items are rustdoc's, C readers want the name alone.
fn plain(line: &str) -> String {
    let line = line.replace("[`", "`").replace("`]", "`");
    match line.starts_with("typedef struct ") {
        true => line,
        false => line.replace("struct rt_", "rt_"),
    }
}

/// Names and C types of the constants. A C rendering has lost them (`#define`), a C++ one has not
/// (`static const int64_t RT_PENDING = -4096;`).
fn constant_types(mut config: Config) -> Vec<(String, String)> {
    config.language = Language::Cxx;
    config.constant.allow_constexpr = false;
    config.documentation = false;
    config.export.item_types = vec![ItemType::Constants];
    render(config)
        .lines()
        .filter_map(|line| line.strip_prefix("static const ")?.split_once(" = "))
        .filter_map(|(declaration, _)| declaration.rsplit_once(' '))
        .map(|(ty, name)| (name.to_owned(), ty.to_owned()))
        .collect()
}

/// A constant's name and value. The include guard has no value.
fn defined(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("#define ")?.split_once(' ')
}

/// Gives the numbers in a constant's `#define` the type that the constant has in Rust, in a form
/// that C, C++ and the preprocessor all accept.
fn with_type(line: &str, types: &[(String, String)]) -> String {
    let Some((name, value)) = defined(line) else {
        return line.to_owned();
    };
    let known = types.iter().find(|(known, _)| known == name);
    let wrap = match known.map(|(_, ty)| ty.as_str()) {
        Some("int64_t") => "INT64_C",
        Some("uint64_t") => "UINT64_C",
        Some("uint32_t") => "UINT32_C",
        Some("int32_t" | "int") => "",
        other => panic!("{name}: no literal for the type {other:?}"),
    };
    let value = wrap_numbers(value, wrap);
    if value.starts_with('-') { format!("#define {name} ({value})") } else { format!("#define {name} {value}") }
}

/// `(A | 16)` becomes `(A | UINT32_C(16))`: digits within names stay as they are.
fn wrap_numbers(value: &str, wrap: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let end = match is_word(first) {
            true => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (token, tail) = rest.split_at(end);
        assert!(!first.is_ascii_alphabetic() || is_known_to_c(token), "C does not know {token} in {value}");
        if !wrap.is_empty() && token.bytes().all(|b| b.is_ascii_digit()) {
            out += &format!("{wrap}({token})");
        } else {
            out += token;
        }
        rest = tail;
    }
    out
}

fn is_known_to_c(name: &str) -> bool {
    name.starts_with("RT_") || name.ends_with("_MAX") || name.ends_with("_MIN")
}

/// The names that the header declares as functions: `name(` outside comments and the preprocessor's lines. A pointer
/// type has a parenthesis on the other side of its name.
fn declared_functions(header: &str) -> BTreeSet<String> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").expect("comments are closed").1;
    }
    code += rest;
    let code: Vec<_> = code.lines().filter(|line| !line.starts_with('#')).collect();
    code.join("\n")
        .split_inclusive('(')
        .filter_map(|piece| piece.strip_suffix('('))
        .map(|piece| piece.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Cargo puts the shared library that belongs to this test beside the test's own executable.
fn shared_library() -> PathBuf {
    let test = env::current_exe().expect("a test has a path");
    let library = test.with_file_name("libasyncio.so");
    assert!(library.exists(), "not built: {}", library.display());
    library
}

fn exported_symbols() -> BTreeSet<String> {
    let output = Command::new("nm")
        .args(["--dynamic", "--defined-only", "--format=posix"])
        .arg(shared_library())
        .output()
        .expect("nm comes with the linker");
    assert!(output.status.success(), "nm: {output:?}");
    String::from_utf8(output.stdout)
        .expect("symbols are ASCII")
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn public_constants(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("src/capi is readable") {
        let path = entry.expect("src/capi is readable").path();
        if path.is_dir() {
            names.append(&mut public_constants(&path));
        } else {
            let source = fs::read_to_string(path).expect("sources are UTF-8");
            names.extend(source.lines().filter_map(|line| {
                let (name, _) = line.strip_prefix("pub const ")?.split_once(':')?;
                (!name.contains(' ')).then(|| name.to_owned())
            }));
        }
    }
    names
}

fn first_difference(old: &str, new: &str) -> String {
    let mut lines = old.lines().zip(new.lines()).enumerate();
    match lines.find(|(_, (a, b))| a != b) {
        Some((i, (a, b))) => format!("line {}:\n  header:  {a}\n  sources: {b}", i + 1),
        None => format!("the header has {} lines, the sources give {}", old.lines().count(), new.lines().count()),
    }
}

#[test]
fn header_is_what_the_sources_say() {
    let new = generate();
    if env::var_os("ASYNCIO_BLESS").is_some() {
        fs::write(header_path(), &new).expect("include/ is writable");
    }
    let old = fs::read_to_string(header_path()).unwrap_or_default();
    assert!(old == new, "include/asyncio.h differs from src/capi at {}\n{REMEDY}", first_difference(&old, &new));
}

/// cbindgen leaves out what it cannot translate, and says nothing.
#[test]
fn constants_are_all_there() {
    let in_header: BTreeSet<_> = generate().lines().filter_map(|line| Some(defined(line)?.0.to_owned())).collect();
    let in_sources = public_constants(&root().join("src/capi"));
    assert!(!in_sources.is_empty(), "no constant found in src/capi");
    assert_eq!(in_sources, in_header, "left: src/capi, right: the header");
    let strangers: Vec<_> = in_header.iter().filter(|n| !n.starts_with("RT_")).collect();
    assert!(strangers.is_empty(), "pub constants of src/capi go to C; make these pub(crate): {strangers:?}");
}

/// cbindgen translates what the sources import, too: what is the system's to declare is no header's of ours.
#[test]
fn functions_are_all_ours() {
    let declared = declared_functions(&generate());
    let strangers: Vec<_> = declared.iter().filter(|name| !name.starts_with("rt_")).collect();
    assert!(strangers.is_empty(), "src/capi must not import functions: {strangers:?}");
}

#[test]
fn exports_are_the_declared_functions() {
    let declared = declared_functions(&generate());
    let exported = exported_symbols();
    assert!(!declared.is_empty(), "no function found in the header");
    let missing: Vec<_> = declared.difference(&exported).collect();
    let extra: Vec<_> = exported.difference(&declared).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "declared but not exported: {missing:?}\nexported but not declared: {extra:?}"
    );
}
