"""Architectures of causal language models, small and random, each built from its configuration: one line each."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
import transformers

from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.causal_lm import CausalLM
from tests.engine.random_models import scatter

VOCABULARY = 31
CONTEXT = 32

# What configurations call their sizes; each takes those that it knows.
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": CONTEXT, "sliding_window": 4,
    "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "moe_shared_expert_intermediate_size": 8,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1,
    "topk_group": 1, "n_shared_experts": 1, "first_k_dense_replace": 1, "kv_lora_rank": 8, "q_lora_rank": 8,
    "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8, "linear_num_key_heads": 2,
    "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "n_embd": 16, "n_layer": 2,
    "n_head": 2, "n_positions": CONTEXT, "n_inner": 24, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_MLA = {"head_dim": 4, "num_key_value_heads": 2}
_HYBRID = {"layer_types": ["linear_attention", "full_attention"]}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8}
_DECODER = {
    "d_model": 16, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 24, "encoder_layers": 1,
    "encoder_attention_heads": 2, "encoder_ffn_dim": 24,
}  # fmt: skip
_PER_LAYER = {"hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": VOCABULARY}
_TEXT = {name: _SIZES[name] for name in (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim", "num_attention_heads",
    "num_key_value_heads", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id",
)}  # fmt: skip
_VISION = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 8,
}  # fmt: skip

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "afmoe": ("AfmoeConfig", {}),
    "apertus": ("ApertusConfig", {}),
    "arcee": ("ArceeConfig", {}),
    "bamba": ("BambaConfig", {**_MAMBA, "attn_layer_indices": [1]}),
    "bart": ("BartConfig", _DECODER),
    "bert": ("BertConfig", {"is_decoder": True}),
    "biogpt": ("BioGptConfig", {}),
    "bitnet": ("BitNetConfig", {}),
    "blenderbot": ("BlenderbotConfig", _DECODER),
    "bloom": ("BloomConfig", {}),
    "codegen": ("CodeGenConfig", {"num_attention_heads": 4, "n_embd": 32, "rotary_dim": 4, "n_ctx": CONTEXT}),
    "cohere": ("CohereConfig", {}),
    "cohere2": ("Cohere2Config", {}),
    "ctrl": ("CTRLConfig", {"dff": 24}),
    "deepseek-v2": ("DeepseekV2Config", {}),
    "deepseek-v3": ("DeepseekV3Config", _MLA),
    "diffllama": ("DiffLlamaConfig", {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}),
    "doge": ("DogeConfig", {}),
    "ernie4.5": ("Ernie4_5Config", {}),
    "exaone4": ("Exaone4Config", {}),
    "falcon": ("FalconConfig", {}),
    "falcon-alibi": ("FalconConfig", {"alibi": True}),
    "falcon-h1": ("FalconH1Config", {**_MAMBA, "mamba_d_ssm": 32, "mamba_n_groups": 1}),
    "falcon-mamba": ("FalconMambaConfig", {}),
    "gemma": ("GemmaConfig", {}),
    "gemma2": ("Gemma2Config", {}),
    "gemma3": ("Gemma3TextConfig", {}),
    "gemma3-vision": ("Gemma3Config", {"text_config": {**_TEXT, "sliding_window": 4}, "vision_config": _VISION,
                                       "mm_tokens_per_image": 4, "image_token_index": 5, "boi_token_index": 6,
                                       "eoi_token_index": 7}),
    "gemma3n": ("Gemma3nTextConfig", {**_PER_LAYER, "num_hidden_layers": 3, "laurel_rank": 4, "altup_num_inputs": 3,
                                      "num_kv_shared_layers": 1, "activation_sparsity_pattern": [0.0] * 3,
                                      "layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
    "gemma4": ("Gemma4TextConfig", {**_PER_LAYER, "num_hidden_layers": 4, "num_kv_shared_layers": 2,
                                    "global_head_dim": 8,
                                    "layer_types": ["sliding_attention", "full_attention"] * 2}),
    "glm": ("GlmConfig", {}),
    "glm4": ("Glm4Config", {}),
    "gpt-bigcode": ("GPTBigCodeConfig", {"multi_query": True}),
    "gpt-neo": ("GPTNeoConfig", {"num_layers": 2, "num_heads": 2, "window_size": 4,
                                 "attention_types": [[["global", "local"], 1]]}),
    "gpt-neox": ("GPTNeoXConfig", {"tie_word_embeddings": False}),
    "gpt-oss": ("GptOssConfig", {}),
    "gpt2": ("GPT2Config", {}),
    "gptj": ("GPTJConfig", {"rotary_dim": 4}),
    "granite": ("GraniteConfig", {}),
    "granite-hybrid": ("GraniteMoeHybridConfig", {**_MAMBA, "layer_types": ["mamba", "attention"],
                                                  "num_local_experts": 0, "shared_intermediate_size": 24}),
    "granite-moe": ("GraniteMoeConfig", {}),
    "helium": ("HeliumConfig", {}),
    "hunyuan": ("HunYuanDenseV1Config", {}),
    "jamba": ("JambaConfig", {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
                              "expert_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 4,
                              "use_mamba_kernels": False}),
    "jetmoe": ("JetMoeConfig", {"kv_channels": 8}),
    "lfm2": ("Lfm2Config", {"layer_types": ["conv", "full_attention"]}),
    "llama": ("LlamaConfig", {}),
    "llama-bos-pads": ("LlamaConfig", {"pad_token_id": 1}),
    "llama-tied": ("LlamaConfig", {"tie_word_embeddings": True}),
    "llama4": ("Llama4TextConfig", {"attention_chunk_size": 4, "no_rope_layers": [1, 0], "moe_layers": [],
                                    "intermediate_size_mlp": 24}),
    "longcat": ("LongcatFlashConfig", {**_MLA, "num_layers": 1, "ffn_hidden_size": 24, "expert_ffn_size": 8,
                                       "zero_expert_num": 1, "moe_topk": 2}),
    "mamba": ("MambaConfig", {}),
    "mamba2": ("Mamba2Config", {"num_heads": 4, "state_size": 8, "n_groups": 1, "chunk_size": 8}),
    "minicpm3": ("MiniCPM3Config", {}),
    "minimax": ("MiniMaxConfig", {**_HYBRID, "block_size": 4}),
    "ministral": ("MinistralConfig", {}),
    "mistral": ("MistralConfig", {}),
    "mixtral": ("MixtralConfig", {}),
    "modernbert": ("ModernBertDecoderConfig", {}),
    "mpt": ("MptConfig", {}),
    "nanochat": ("NanoChatConfig", {}),
    "nemotron": ("NemotronConfig", {}),
    "nemotron-h": ("NemotronHConfig", {"num_hidden_layers": 3, "layers_block_type": ["mamba", "attention", "mlp"],
                                       "mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1,
                                       "chunk_size": 8}),
    "olmo": ("OlmoConfig", {"clip_qkv": 0.5}),
    "olmo2": ("Olmo2Config", {}),
    "olmo3": ("Olmo3Config", {}),
    "olmo-hybrid": ("OlmoHybridConfig", _HYBRID),
    "olmoe": ("OlmoeConfig", {}),
    "openai-gpt": ("OpenAIGPTConfig", {}),
    "opt": ("OPTConfig", {"ffn_dim": 24, "word_embed_proj_dim": 8, "do_layer_norm_before": False}),
    "persimmon": ("PersimmonConfig", {}),
    "phi": ("PhiConfig", {}),
    "phi3": ("Phi3Config", {}),
    "phimoe": ("PhimoeConfig", {}),
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen2-moe": ("Qwen2MoeConfig", {}),
    "qwen3": ("Qwen3Config", {}),
    "qwen3-next": ("Qwen3NextConfig", _HYBRID),
    "qwen3.5": ("Qwen3_5TextConfig", _HYBRID),
    "recurrent-gemma": ("RecurrentGemmaConfig", {"block_types": ["recurrent", "attention"], "lru_width": 16,
                                                 "attention_window_size": 4}),
    "roformer": ("RoFormerConfig", {"is_decoder": True}),
    "rwkv": ("RwkvConfig", {"rescale_every": 1}),
    "smollm3": ("SmolLM3Config", {"no_rope_layers": [1, 0]}),
    "stablelm": ("StableLmConfig", {"use_parallel_residual": True, "qk_layernorm": True}),
    "starcoder2": ("Starcoder2Config", {}),
    "vaultgemma": ("VaultGemmaConfig", {}),
    "xglm": ("XGLMConfig", {"d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 24}),
    "xlm": ("XLMConfig", {"causal": True}),
    "xlnet": ("XLNetConfig", {"attn_type": "uni", "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24,
                              "d_head": 8}),
    "zamba2": ("Zamba2Config", {"mamba_d_state": 8, "mamba_headdim": 8, "n_mamba_heads": 4, "mamba_ngroups": 1,
                                "chunk_size": 8, "layer_types": ["mamba", "hybrid"], "hybrid_layer_ids": [1],
                                "num_mem_blocks": 1, "adapter_rank": 4}),
}  # fmt: skip


def architecture(name: str) -> Base:
    """A random model in eval mode and float32, with weights large enough that influence is well above rounding."""
    kind, own = ARCHITECTURES[name]
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made: Any = getattr(transformers, kind)
        known = set(made().to_dict()) | set(getattr(made, "attribute_map", None) or {})
        sizes = {} if "text_config" in own else {key: value for key, value in _SIZES.items() if key in known}
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(made(**{**sizes, **own})).eval()
        scatter(model)
    return Base(BaseInfo(name, name, "causal_lm", ""), model.requires_grad_(False), CausalLM(max_length=CONTEXT))
