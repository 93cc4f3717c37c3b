"""What a space may search over: bounds that make sense at all, and what each knob means.

Every name is a field of `WukongConfig` or `TrainConfig`, whose annotations give its type. A knob is
one line here.
"""

from __future__ import annotations

from collections.abc import Mapping

# name → (lowest, highest, meaning)
MODEL_RANGES: Mapping[str, tuple[float, float, str]] = {
    "layers": (1, 64, "Wukong layers, l"),
    "n_F": (1, 4096, "rows made by each factorization machine block"),
    "n_L": (1, 4096, "rows made by each linear compress block"),
    "k": (1, 4096, "rank of the factorization machine"),
    "mlp_depth": (1, 16, "hidden layers of each FMB MLP"),
    "mlp_width": (1, 131072, "width of the FMB MLPs' hidden layers"),
    "d": (1, 4096, "embedding dimension"),
    "attentive_rows": (1, 4096, "rows that the attentive Y sees"),
    "attentive_width": (1, 131072, "hidden width of the attentive Y's MLP"),
    "dense_rows": (1, 4096, "rows made from the dense features"),
    "bottom_depth": (0, 16, "hidden layers of the bottom MLP"),
    "bottom_width": (1, 131072, "width of the bottom MLP"),
    "head_depth": (0, 16, "hidden layers of each head"),
    "head_width": (1, 131072, "width of the heads"),
    "ln_eps": (1e-12, 1.0, "epsilon of the layer norms"),
    "dropout": (0.0, 0.99, "dropout in the FMB MLPs and the heads"),
    "head_dropout": (0.0, 0.99, "dropout in the heads, where it differs"),
    "table_init_std": (1e-8, 10.0, "standard deviation of the tables' initial weights"),
}
# name → meaning; the values are those of the field's Literal, or true and false
MODEL_SWITCHES: Mapping[str, str] = {
    "fm": "form of the factorization machine",
    "attentive_y": "make Y attentive to the input",
    "mlp_output_activation": "ReLU after each FMB MLP",
    "mlp_norm": "norm inside the FMB MLPs",
    "mlp_bias": "biases in the FMB MLPs",
    "residual_bias": "bias of the residual mix",
    "y_init": "initial distribution of Y",
    "mix_init": "initial distribution of the row mixes",
    "linear_init": "initial distribution of the other maps",
    "dense_mode": "how rows are made from the dense features",
    "dense_bias": "bias of the last dense map",
    "bottom_output_activation": "ReLU after the bottom MLP",
    "dense_first": "dense rows come first",
    "head_norm": "norm inside the heads",
}
TRAIN_RANGES: Mapping[str, tuple[float, float, str]] = {
    "batch_size": (1, 2**24, "examples a step, over all processes"),
    "passes": (1, 10_000, "times the training split is seen"),
    "dense_lr": (1e-9, 100.0, "learning rate of all but the tables"),
    "table_lr": (1e-9, 100.0, "learning rate of the tables"),
    "table_l2": (0.0, 1e3, "L2 over all rows of the tables"),
    "dense_l2": (0.0, 1e3, "L2 over all other weights"),
    "clip_norm": (0.0, 1e6, "largest norm of the dense gradient; 0: no clipping"),
    "warmup_share": (0.0, 1.0, "share of the steps over which the learning rates grow"),
    "decay_share": (0.0, 1.0, "share of the steps over which they fall to 0"),
    "plateau_factor": (1e-6, 1.0, "learning rates × this at a plateau"),
    "plateau_patience": (1, 10_000, "evaluations without improvement that make a plateau"),
    "early_stop_patience": (0, 10_000, "evaluations without improvement that end a run"),
    "evals_per_pass": (1, 10_000, "evaluations in each pass"),
}
TRAIN_SWITCHES: Mapping[str, str] = {"table_optimizer": "optimizer of the tables"}
# Knobs of which each layer may have a value of its own → the knob that counts these layers.
COUNTED_BY: Mapping[str, str] = {
    **dict.fromkeys(("n_F", "n_L", "k", "mlp_depth", "mlp_width"), "layers"),
    "bottom_width": "bottom_depth",
    "head_width": "head_depth",
}
# How a study runs: fixed in a spec, never searched.
FIXED_SWITCHES: Mapping[str, str] = {
    "dense_optimizer": "optimizer of all but the tables",
    "table_backend": "implementation of the tables",
    "monitor": "validation metric that decides about plateaus and the best weights",
    "compile": "pass the model through torch.compile",
    "threads": "CPU threads of torch",
    "eval_batch_size": "examples of each process in a forward pass of evaluations",
    "checkpoint_min": "minutes between checkpoints; 0: none",
    "device": "where to compute; auto: a GPU where there is one",
    "precision": "of the dense part's products",
    "gradient_precision": "of dense gradients summed over ranks",
    "dense_shard_ranks": "ranks that share one copy of the dense weights; 0: all",
    "activation_checkpointing": "compute each layer's activations again in backward",
    "table_sharding": "how fused tables are cut over ranks",
    "table_shard_columns": "width of a column-wise shard",
    "table_precision": "of the fused tables' weights",
    "lookup_precision": "of looked-up vectors between ranks",
    "memory_check": "refuse what is predicted not to fit into memory",
}
FIXED = frozenset(FIXED_SWITCHES)
# Settings of training that have no meaning for a model of one's own.
WUKONG_ONLY = frozenset(
    {
        "activation_checkpointing",
        "lookup_precision",
        "table_backend",
        "table_precision",
        "table_shard_columns",
        "table_sharding",
    }
)
# Layouts of the tables, with a form of their own.
LAYOUTS = ("tables", "table_groups")
# What time and memory of a step depend on, though no exact cost does.
COST_PREDICTED = frozenset(
    {
        "batch_size",
        "bottom_output_activation",
        "dropout",
        "head_dropout",
        "mlp_output_activation",
        "table_optimizer",
    }
)
# Fields of the model that neither its FLOP nor its weights depend on.
COST_FREE = frozenset(
    {
        "bottom_output_activation",
        "dense_first",
        "dropout",
        "head_dropout",
        "linear_init",
        "ln_eps",
        "mix_init",
        "mlp_output_activation",
        "table_init_std",
        "y_init",
    }
)
