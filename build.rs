//! Link-time properties of the shared library that Cargo has no field for.

fn main() {
    // The ABI's major version: programs record this name, not the file's.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libasyncio.so.0");
    // Wakers and type-stable pages may be reached by late threads: the code must never be unmapped.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
