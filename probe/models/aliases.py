"""What named models are called. Without PyTorch, whose import takes seconds."""

from __future__ import annotations

ALIASES = {
    "convnext": "convnext_tiny",
    "densenet": "densenet121",
    "efficientnet": "efficientnet_b0",
    "efficientnet_v2": "efficientnet_v2_s",
    "inception": "inception_v3",
    "maxvit": "maxvit_t",
    "mnasnet": "mnasnet1_0",
    "mobilenet": "mobilenet_v3_large",
    "mobilenet_v3": "mobilenet_v3_large",
    "regnet": "regnet_y_400mf",
    "resnet": "resnet50",
    "resnext": "resnext50_32x4d",
    "shufflenet": "shufflenet_v2_x1_0",
    "squeezenet": "squeezenet1_1",
    "swin": "swin_t",
    "swin_v2": "swin_v2_t",
    "vgg": "vgg16",
    "vit": "vit_b_16",
    "wide_resnet": "wide_resnet50_2",
}


def full_name(name: str) -> str:
    """`DenseNet` -> `densenet121`; whether there is such a model is `resolve_model`'s to say."""
    return ALIASES.get(name.lower(), name.lower())
