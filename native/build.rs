//! Puts the entropy decoder of `src/entropy.rs` beside libjpeg-turbo's, where the linker can.

fn main() {
    println!("cargo::rerun-if-changed=src/entropy.c");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return; // only GNU's way of linking puts one function in the place of another
    }
    let headers = std::env::var("DEP_TURBOJPEG_INCLUDE").unwrap_or_default();
    cc::Build::new()
        .file("src/entropy.c")
        .includes(headers.split(',').filter(|folder| !folder.is_empty()))
        .link_lib_modifier("+whole-archive")
        .compile("besana_entropy");
    println!("cargo::rustc-link-arg-cdylib=-Wl,--wrap=jinit_huff_decoder");
}
