// What an agent might try, and a peer that says what reached it. One static program, the standard library alone.
module sluice.dev/tests/probe

go 1.26.0
