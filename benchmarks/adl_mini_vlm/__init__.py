"""Every video student and every way of distillation on adl-mini, with several seeds."""
