"""MuJoCo as pure functions, on two interchangeable backends."""
