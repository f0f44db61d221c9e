char LICENSE[] __attribute__((section("license"))) = "Dual MIT/GPL";
