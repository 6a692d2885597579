"""torchrun, but for ending with the process that started it: `python -m flag_kedro.ppo.agent ...` takes its options."""

from torch.distributed.run import main

from flag_kedro.ppo.parent import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    main()
