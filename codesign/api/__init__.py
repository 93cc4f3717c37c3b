"""What the command line and a notebook call; each function is one command.

Heavy packages are imported by the functions that need them.
"""

from codesign.api.costs import calibrate as calibrate
from codesign.api.costs import cost as cost
from codesign.api.costs import evaluate_cost as evaluate_cost
from codesign.api.costs import plan as plan
from codesign.api.costs import profile as profile
from codesign.api.launching import launch as launch
from codesign.api.launching import preview_launch as preview_launch
from codesign.api.specs import estimate as estimate
from codesign.api.specs import init as init
from codesign.api.specs import validate as validate
from codesign.api.studies import StudyResult as StudyResult
from codesign.api.studies import dashboard as dashboard
from codesign.api.studies import make_proposer as make_proposer
from codesign.api.studies import optimize as optimize
from codesign.api.studies import prepare_data as prepare_data
from codesign.api.studies import report as report
from codesign.api.tracking import wandb_log as wandb_log
from codesign.api.tracking import wandb_report as wandb_report
from codesign.api.tracking import wandb_sync as wandb_sync
from codesign.retrain import train as train
from codesign.study.commands import cancel as cancel
from codesign.study.commands import export as export
from codesign.study.commands import export_design as export_design
from codesign.study.commands import extend as extend
from codesign.study.commands import logs as logs
from codesign.study.commands import status as status
from codesign.study.commands import stop as stop
