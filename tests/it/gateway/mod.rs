//! The gateway and its face, from outside: a router in process or over TCP, with a scripted provider behind it.

mod alike;
mod budgets;
mod caching;
mod complaints;
mod embeddings;
mod ends;
mod errors;
mod exploring;
mod faithful;
mod house;
mod judged;
mod mutated;
mod routes;
mod together;
mod upstream;
mod warmth;
