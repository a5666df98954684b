//! Clients that attack: the memory of the gateway is bounded, other clients are served, and nothing
//! reaches a project that its caller may not address.

#[cfg(target_os = "linux")]
mod attacks;
mod frames;
mod http2;
#[cfg(target_os = "linux")]
mod load;
mod messages;
#[cfg(target_os = "linux")]
mod neighbour;
#[cfg(target_os = "linux")]
mod process;
mod projects;
#[cfg(target_os = "linux")]
mod slow;
mod smuggling;
#[cfg(target_os = "linux")]
mod times;
