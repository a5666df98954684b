//! All forms of arguments keep their lints, and a tail expression may borrow from arguments.
#![deny(warnings, unused)]

use std::cell::RefCell;

use tracer_registry::trace;

struct Unit;

struct Whole {
    text: String,
}

impl Whole {
    #[trace]
    fn end(mut self) -> ! {
        self.text.clear();
        panic!("{}", self.text)
    }

    #[trace]
    fn take(self) -> String {
        self.text
    }
}

#[trace]
fn borrowed(cell: RefCell<String>) -> usize {
    cell.borrow().len()
}

#[trace]
fn borrowed_result(cell: RefCell<String>) -> Result<usize, String> {
    Ok(cell.borrow().len())
}

#[trace]
async fn borrowed_later(cell: RefCell<String>) -> usize {
    cell.borrow().len()
}

#[trace]
fn forms((mut one, _): (u32, u32), Unit: Unit, _: u32, ref four: u32, #[expect(unused_variables)] five: u32) -> u32 {
    one += 1;
    one + four
}

#[trace(tenant = tenant)]
async fn only_in_tenant_option(tenant: &str) {}

#[trace(name = format!("of {tenant}"))]
async fn only_in_name_option(tenant: &str) {}

#[trace]
#[track_caller]
fn tracked() -> &'static std::panic::Location<'static> {
    std::panic::Location::caller()
}

// An unfinished function: the attribute causes no warnings.
#[trace]
fn unfinished(_left: u32) -> u32 {
    todo!()
}

#[trace]
async fn never(mut count: u32) -> ! {
    loop {
        count = count.wrapping_add(1);
    }
}

fn main() {
    let cell = || RefCell::new(String::new());
    let _ = (borrowed(cell()), borrowed_result(cell()), borrowed_later(cell()));
    let _ = (forms((1, 2), Unit, 3, 4, 5), only_in_tenant_option("a"), only_in_name_option("a"), never(1), Whole::take, Whole::end, unfinished);
    assert_eq!(tracked().line(), line!());
}
