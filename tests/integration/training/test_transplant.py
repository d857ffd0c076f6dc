import pytest
import torch
from diffusers import UNet2DConditionModel

from kernel.protocol.enums import ModelBase
from training.networks import build_unet
from training.unet import transplant


@pytest.fixture(scope="module")
def unets() -> tuple[UNet2DConditionModel, UNet2DConditionModel]:
    torch.manual_seed(1)
    return build_unet(ModelBase.SD), build_unet(ModelBase.SDXL)


def test_most_of_an_sdxl_unet_can_start_from_an_sd_one(
    unets: tuple[UNet2DConditionModel, UNet2DConditionModel],
) -> None:
    sd, sdxl = unets

    copied = transplant(sdxl, sd.state_dict(), levels_above=1)

    assert copied / sum(weight.numel() for weight in sdxl.parameters()) > 0.7


def test_the_levels_of_the_same_width_and_depth_are_the_ones_that_meet(
    unets: tuple[UNet2DConditionModel, UNet2DConditionModel],
) -> None:
    sd, sdxl = unets

    transplant(sdxl, sd.state_dict(), levels_above=1)

    given, taken = sd.state_dict(), sdxl.state_dict()
    last = "resnets.2.conv2.weight"
    assert torch.equal(taken[f"up_blocks.2.{last}"], given[f"up_blocks.3.{last}"])
    assert torch.equal(
        taken["down_blocks.1.resnets.0.conv1.weight"], given["down_blocks.1.resnets.0.conv1.weight"]
    )


def test_what_reads_the_words_keeps_its_own_start(
    unets: tuple[UNet2DConditionModel, UNet2DConditionModel],
) -> None:
    sd, sdxl = unets
    reads_words = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    before = sdxl.state_dict()[reads_words].clone()

    transplant(sdxl, sd.state_dict(), levels_above=1)

    assert torch.equal(sdxl.state_dict()[reads_words], before)
