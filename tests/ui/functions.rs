//! Items that `#[trace]` does not support.

use tracer_registry::trace;

#[trace]
const fn constant() -> i32 {
    1
}

#[trace]
pub extern "C" fn external() {}

#[trace]
struct NoFunction;

struct Type;

#[trace]
impl Type {
    fn method(&self) {}
}

trait Declares {
    #[trace]
    fn declared(&self);
}

#[trace]
#[track_caller]
fn tracked() -> Result<(), String> {
    Ok(())
}

fn main() {}
