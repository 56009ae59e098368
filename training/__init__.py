"""Knowledge distillation: trains students (`python -m training.distill`), evaluates and exports them."""
