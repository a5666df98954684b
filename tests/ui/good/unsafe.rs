//! Unsafe functions can be traced and stay unsafe.
#![deny(warnings, unused)]

use tracer_registry::trace;

#[trace(capture = both)]
unsafe fn dangerous(number: u32) -> Result<u32, String> {
    Ok(number)
}

#[trace]
async unsafe fn later(number: u32) -> u32 {
    number
}

fn main() {
    // SAFETY: the functions have no preconditions.
    assert_eq!(unsafe { dangerous(3) }, Ok(3));
    drop(unsafe { later(3) });
}
